"""Random arguments, one maker per kind of problem. All of them fit into JSON."""

from random import Random

from models.starter.recipe.grammar import Value

SPELLED = (
    "apple river stone otter level noon cloud tree radar engine sea orange ice lamp tower rotor "
    "ear road door Anna island butter civic oak under cherry ant mirror kayak onion ruler echo sun "
    "arrow letter eve"
)
WORDS = SPELLED.split()
KEYS = (
    "ann",
    "bob",
    "carla",
    "dan",
    "eve",
    "fred",
    "gina",
    "hal",
    "ida",
    "jo",
    "kurt",
    "lea",
    "abel",
    "bo",
    "cleo",
)
CHARACTERS = "aeioubcdrstAEKRT0379  !-"


def numbers(rng: Random) -> list[int]:
    """Three to eight numbers from -12 to 20, repetitions likely."""
    return [rng.randint(-12, 20) for _ in range(rng.randint(3, 8))]


def one_list(rng: Random) -> list[Value]:
    """A list of numbers."""
    return [numbers(rng)]


def two_lists(rng: Random) -> list[Value]:
    """Two lists of equal length, equal at some places."""
    first = numbers(rng)
    second = [x if rng.random() < 0.2 else rng.randint(-12, 20) for x in first]
    return [first, second]


def mirrored_list(rng: Random) -> list[Value]:
    """A list of four to nine numbers that repeats itself backwards at some places."""
    values = [rng.randint(-9, 15) for _ in range(rng.randint(4, 9))]
    for place in range(len(values) // 2):
        if rng.random() < 0.25:
            values[-1 - place] = values[place]
    return [values]


def two_numbers(rng: Random) -> list[Value]:
    """Two numbers from -20 to 30."""
    return [rng.randint(-20, 30), rng.randint(-20, 30)]


def any_number(rng: Random) -> list[Value]:
    """A number, mostly small, sometimes negative."""
    return [rng.choice((rng.randint(-15, 15), rng.randint(0, 40), rng.randint(-99, 150)))]


def limit(rng: Random) -> list[Value]:
    """A number from 4 to 24."""
    return [rng.randint(4, 24)]


def start(rng: Random) -> list[Value]:
    """A number from 1 to 400, small ones more likely."""
    return [rng.choice((rng.randint(1, 12), rng.randint(5, 60), rng.randint(40, 400)))]


def sentence(rng: Random) -> list[Value]:
    """Four to eight words with single spaces."""
    return [" ".join(rng.sample(WORDS, rng.randint(4, 8)))]


def characters(rng: Random) -> list[Value]:
    """Five to fourteen letters, digits, spaces and signs."""
    return ["".join(rng.choice(CHARACTERS) for _ in range(rng.randint(5, 14)))]


def table(rng: Random) -> list[Value]:
    """A dictionary from three to seven names to numbers."""
    return [{key: rng.randint(-9, 20) for key in rng.sample(KEYS, rng.randint(3, 7))}]


def joined_numbers(rng: Random) -> list[Value]:
    """Three to seven numbers joined by commas."""
    return [",".join(str(rng.randint(-9, 30)) for _ in range(rng.randint(3, 7)))]


def joined_pairs(rng: Random) -> list[Value]:
    """Three to six pairs such as `ann=3`, joined by semicolons."""
    names = rng.sample(KEYS, rng.randint(3, 6))
    return [";".join(f"{name}={rng.randint(-9, 30)}" for name in names)]
