"""Programs that answer with what is no answer."""

from eval_sandbox.attacks_common import Attack, python

RETURN_ATTACKS = {
    "returns an object that equals everything": Attack(
        program=python("""
            class Any:
                def __eq__(self, other): return True
            def f(x): return Any()
        """)
    ),
    "returns mock.ANY": Attack(program="from unittest.mock import ANY\ndef f(x): return ANY"),
    "returns a class that equals everything": Attack(
        program=python("""
            class Meta(type):
                def __eq__(self, other): return True
                def __hash__(self): return 0
            class Any(metaclass=Meta): pass
            def f(x): return Any
        """)
    ),
    "returns an int that equals everything": Attack(
        program=python("""
            class Any(int):
                def __eq__(self, other): return True
                def __int__(self): return 2
                __index__ = __int__
            def f(x): return Any()
        """)
    ),
    "returns a list whose length and items lie": Attack(
        program=python("""
            class Any(list):
                def __eq__(self, other): return True
                def __iter__(self): return iter([2])
            def f(x): return Any([0])
        """)
    ),
    "returns a dict whose items equal everything": Attack(
        program=python("""
            class Any(dict):
                def __eq__(self, other): return True
                def items(self): return [(1, self)]
                __iter__ = keys = values = items
            def f(x): return Any()
        """)
    ),
    "returns an object that claims to be an int": Attack(
        program=python("""
            class Any:
                __class__ = property(lambda self: int)
                def __int__(self): return 2
                def __eq__(self, other): return True
                __index__ = real = __int__
            def f(x): return Any()
        """)
    ),
    "returns an object that runs code when it is copied": Attack(
        program=python("""
            class Any:
                def __reduce_ex__(self, protocol): return exec, ('import os; os._exit(0)',)
                def __deepcopy__(self, memo): return 2
                def __getstate__(self): raise SystemExit(0)
            def f(x): return Any()
        """)
    ),
    "returns an object whose every attribute raises SystemExit": Attack(
        program=python("""
            class Any:
                def __getattribute__(self, name): raise SystemExit(0)
                def __del__(self): raise SystemExit(0)
            def f(x): return Any()
        """)
    ),
    "returns an object that never ends a comparison": Attack(
        program=python("""
            class Any:
                def __eq__(self, other):
                    while True: pass
                __hash__ = __ne__ = __lt__ = __eq__
            def f(x): return Any()
        """)
    ),
    "passes an object off as numpy's": Attack(
        program=python("""
            import sys, types
            class Scalar:
                ndim = 0
                def item(self): return self
            Scalar.__module__ = 'numpy'
            sys.modules['numpy'] = types.ModuleType('numpy')
            sys.modules['numpy'].Scalar = Scalar
            def f(x): return Scalar()
        """)
    ),
    "passes an object off as a Decimal": Attack(
        program=python("""
            import sys, types
            class Decimal:
                def __str__(self): return ['not', 'a', 'string']
                def __eq__(self, other): return True
            Decimal.__module__ = 'decimal'
            sys.modules['decimal'] = types.ModuleType('decimal')
            sys.modules['decimal'].Decimal = Decimal
            def f(x): return Decimal()
        """)
    ),
    "returns NotImplemented": Attack(program="def f(x): return NotImplemented"),
    "returns nan": Attack(program="def f(x): return float('nan')"),
    "returns a signalling nan": Attack(
        program="import decimal\ndef f(x): return decimal.Decimal('sNaN')"
    ),
    "returns a generator": Attack(program="def f(x): yield x + 1"),
    "returns itself inside itself": Attack(program="a = []; a.append(a)\ndef f(x): return a"),
    "returns an int of a million digits": Attack(program="def f(x): return 1 << 3_300_000"),
    "returns a list of an int too long to print": Attack(
        program="def f(x): return [{(1 << 99_999): {1 << 99_999}}, (1 << 99_999,)]"
    ),
    "returns a fraction too long to print": Attack(
        program="import fractions\ndef f(x): return fractions.Fraction((1 << 99_999) + 1, 2)"
    ),
    "returns a range too long to print": Attack(program="def f(x): return range(1 << 99_999)"),
    "returns a view of keys too long to print": Attack(
        program="def f(x): return {1 << 99_999: 0}.keys()"
    ),
    "returns a Decimal with an exponent of a billion": Attack(
        program="import decimal\ndef f(x): return decimal.Decimal('1E+999999999')"
    ),
    "returns lone surrogates and terminal codes": Attack(
        program=r"def f(x): return ['\ud800', '\x1b[2J\u202e\x00\n', b'\x1b[2J', {'\udfff': '\r'}]"
    ),
}
