"""Work kept in a store: a folder, and S3's protocol over HTTP. The oracle of S3 is boto3."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plausible_rows import BASE, TUNED, small_ledger
from small_training import order_of
from stores import Bucket, s3_server

from database import write
from database.__main__ import main as database
from database.copies import Store as Copies
from database.copies import StoreAwayError
from database.retention import Keep, prunable, prune
from jobs.declared import UserError
from jobs.storage.going_on import GoingOn
from jobs.storage.keeping import Storage
from jobs.storage.store import DamagedError, Store, StoreError
from jobs.training.fence import SupersededError
from jobs.weights import Weights

ROOT = Path(__file__).parent.parent
NUMBERS = itertools.count()
PUT = "import sys; from pathlib import Path; from jobs.storage.store import Store; "
PUT += "Store(sys.argv[1]).put('run/checkpoint', Path(sys.argv[2]))"


@pytest.fixture(scope="module")
def s3():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3, monkeypatch):
    made = Bucket(s3, f"codeladder-{next(NUMBERS)}")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(params=["s3", "folder"])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        monkeypatch.setenv("CODELADDER_STORE", str(tmp_path / "kept"))
    else:
        request.getfixturevalue("bucket")
    found = Store.from_environment()
    assert found is not None
    return found


@pytest.fixture
def checkpoint(tmp_path):
    """A folder as a training leaves it."""
    made = tmp_path / "work" / "run" / "checkpoint"
    (made / "tokenizer").mkdir(parents=True)
    (made / "adapter.safetensors").write_bytes(os.urandom(300_000))
    (made / "tokenizer" / "vocab.json").write_text("{}")
    (made / "steps.jsonl").write_text("")
    return made


def files_of(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_folder_comes_back_to_the_bit(store, checkpoint, tmp_path):
    store.put("run/checkpoint", checkpoint)

    assert store.fetch("run/checkpoint", tmp_path / "back" / "checkpoint")
    assert files_of(tmp_path / "back" / "checkpoint") == files_of(checkpoint)


def test_a_file_comes_back_as_a_file(store, tmp_path):
    (tmp_path / "answers.jsonl").write_text("one\n")
    store.put("run/completions/answers.jsonl", tmp_path / "answers.jsonl")

    assert store.fetch("run/completions/answers.jsonl", tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_text() == "one\n"


def test_what_was_never_put_is_not_there_and_leaves_nothing_behind(store, tmp_path):
    store.check()

    assert not store.fetch("run/checkpoint", tmp_path / "back" / "checkpoint")
    assert store.manifest("run/checkpoint") is None
    assert not (tmp_path / "back").exists()


def test_the_manifest_has_the_sha256_of_every_file_as_another_client_reads_it(bucket, checkpoint):
    Store(bucket.url).put("run/checkpoint", checkpoint)

    manifest = json.loads(bucket.read("run/checkpoint/manifest.json"))
    (folder,) = {key.split("/")[2] for key in bucket.listed()} - {"manifest.json"}
    assert {
        name: hashlib.sha256(bucket.read(f"run/checkpoint/{folder}/{name}")).hexdigest()
        for name in files_of(checkpoint)
    } == {name: known["sha256"] for name, known in manifest["files"].items()}


def test_a_name_that_is_put_again_is_replaced_and_the_old_files_are_gone(bucket, checkpoint):
    store = Store(bucket.url)
    store.put("run/checkpoint", checkpoint)
    before = set(bucket.listed())
    (checkpoint / "steps.jsonl").write_text("more\n")
    store.put("run/checkpoint", checkpoint)

    assert set(bucket.listed()) & before == {"run/checkpoint/manifest.json"}
    assert len(bucket.listed()) == len(before)


@pytest.mark.parametrize("damage", ["changed", "cut off", "gone"])
def test_a_damaged_object_is_refused_and_no_part_of_it_is_left(
    damage, bucket, checkpoint, tmp_path
):
    store = Store(bucket.url)
    store.put("run/checkpoint", checkpoint)
    (key,) = [key for key in bucket.listed() if key.endswith("adapter.safetensors")]
    content = bucket.read(key)
    if damage == "gone":
        bucket.remove(key)
    else:
        bucket.write(key, content[:-1] + (b"" if damage == "cut off" else b"\0\0"[:1]))

    with pytest.raises(DamagedError, match=r"adapter\.safetensors"):
        store.fetch("run/checkpoint", tmp_path / "back" / "checkpoint")
    assert files_of(tmp_path / "back") == {}


def test_what_another_uploads_meanwhile_stays_when_a_name_is_forgotten(bucket, checkpoint):
    store = Store(bucket.url)
    store.put("run/checkpoint", checkpoint)
    bucket.write("run/checkpoint/0123456789abcdef/adapter.safetensors", b"half of it")
    store.forget("run/checkpoint")

    assert bucket.listed() == ["run/checkpoint/0123456789abcdef/adapter.safetensors"]


@pytest.mark.slow
def test_an_upload_that_is_killed_is_not_there_and_the_next_one_is(bucket, tmp_path):
    large = tmp_path / "work" / "run" / "checkpoint"
    large.mkdir(parents=True)
    for number in range(60):
        (large / f"{number:03}.safetensors").write_bytes(os.urandom(20_000))
    command = [sys.executable, "-c", PUT, bucket.url, str(large)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        while not bucket.listed():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert 0 < len(bucket.listed()) < 60

    store = Store(bucket.url)
    assert not store.fetch("run/checkpoint", tmp_path / "back")
    store.put("run/checkpoint", large)
    assert store.fetch("run/checkpoint", tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(large)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "a\\..\\b"])
def test_a_manifest_that_names_a_file_outside_is_not_believed(name, bucket, checkpoint, tmp_path):
    store = Store(bucket.url)
    store.put("run/checkpoint", checkpoint)
    manifest = json.loads(bucket.read("run/checkpoint/manifest.json"))
    manifest["files"][name] = manifest["files"].pop("steps.jsonl")
    bucket.write("run/checkpoint/manifest.json", json.dumps(manifest).encode())

    assert not store.fetch("run/checkpoint", tmp_path / "back" / "checkpoint")


def test_a_manifest_that_is_cut_off_is_none(bucket, checkpoint, tmp_path):
    store = Store(bucket.url)
    store.put("run/checkpoint", checkpoint)
    said = bucket.read("run/checkpoint/manifest.json")
    bucket.write("run/checkpoint/manifest.json", said[: len(said) // 2])

    assert not store.fetch("run/checkpoint", tmp_path / "back")


def test_a_store_that_does_not_answer_is_named_without_the_keys(bucket):
    code = f"from jobs.storage.store import Store; Store({bucket.url!r}).check()"
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | nobody,
        capture_output=True,
        text=True,
    )

    assert f"StoreError: the store {bucket.url} (CODELADDER_STORE) cannot be used" in ended.stderr
    assert bucket.environment["AWS_SECRET_ACCESS_KEY"] not in ended.stderr


def test_a_bucket_that_is_not_there_is_a_store_that_cannot_be_used(bucket):
    with pytest.raises(StoreError, match="s3://no-such-bucket"):
        Store("s3://no-such-bucket/work").check()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://me:secret-word@bucket/x", "holds a login"),
        ("memory://x", "gone with each process"),
        ("s4://bucket/x", r"s4://.*Did you mean 's3'"),
        ("gs://bucket/x", "pip install gcsfs"),
    ],
)
def test_a_url_that_names_no_store_is_a_mistake_of_the_user(url, said):
    with pytest.raises(UserError, match=said) as told:
        Store.from_environment({"CODELADDER_STORE": url})
    assert "secret-word" not in str(told.value)


def test_without_the_variable_nothing_is_kept_elsewhere(checkpoint):
    assert Store.from_environment({}) is None
    assert Storage().there(checkpoint)
    Storage().keep(checkpoint)
    assert Storage().here(checkpoint) == checkpoint


def test_an_outcome_is_fetched_where_the_folder_lacks_it(store, checkpoint, tmp_path):
    there = Storage(tmp_path / "work", store)
    there.keep(checkpoint)
    elsewhere = Storage(tmp_path / "other", store)

    assert elsewhere.there(tmp_path / "other" / "run" / "checkpoint")
    assert files_of(tmp_path / "other" / "run" / "checkpoint") == files_of(checkpoint)


def test_an_outcome_that_the_store_lacks_is_put_when_it_is_looked_for(store, checkpoint, tmp_path):
    assert Storage(tmp_path / "work", store).there(checkpoint)

    assert store.manifest("run/checkpoint").title == "checkpoint"


def test_what_belongs_to_an_outcome_comes_with_it_and_may_be_missing(store, tmp_path):
    answers, cost = (tmp_path / "work" / name for name in ("a.jsonl", "a.cost.json"))
    answers.parent.mkdir()
    answers.write_text("one\n")
    cost.write_text("{}")
    Storage(tmp_path / "work", store).keep(cost, answers)
    other = tmp_path / "other"

    assert Storage(other, store).there(other / "a.jsonl", other / "a.cost.json", other / "no.json")
    assert (other / "a.cost.json").read_text() == "{}"


def test_an_outcome_that_is_damaged_in_the_store_is_done_again_and_put_whole(
    bucket, checkpoint, tmp_path
):
    Storage(tmp_path / "work", Store(bucket.url)).keep(checkpoint)
    (key,) = [key for key in bucket.listed() if key.endswith("adapter.safetensors")]
    bucket.write(key, b"something else")
    other = Storage(tmp_path / "other", Store(bucket.url))

    assert not other.there(tmp_path / "other" / "run" / "checkpoint")
    assert Storage(tmp_path / "work", Store(bucket.url)).there(checkpoint)
    assert other.there(tmp_path / "other" / "run" / "checkpoint")


def test_a_node_with_a_folder_of_its_own_fetches_into_that_one(
    store, checkpoint, tmp_path, monkeypatch
):
    driver = Storage(tmp_path / "driver's", store)
    store.put("run/checkpoint", checkpoint)
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path / "node's"))

    found = driver.here(tmp_path / "driver's" / "run" / "checkpoint")

    assert found == tmp_path / "node's" / "run" / "checkpoint"
    assert files_of(found) == files_of(checkpoint)
    assert not (tmp_path / "driver's").exists()


def test_a_base_that_is_a_folder_of_the_driver_is_there_on_a_node_that_has_none(
    store, tmp_path, monkeypatch
):
    base = tmp_path / "models" / "tiny"
    base.mkdir(parents=True)
    (base / "model.safetensors").write_bytes(b"weights")
    driver = Storage(tmp_path / "work", store)
    driver.keep_base(str(base))
    base.rename(tmp_path / "away")
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path / "node's"))

    found = driver.weights_here(Weights(location=str(base)))

    assert files_of(Path(found.location)) == {"model.safetensors": b"weights"}
    assert driver.weights_here(Weights(location="owner/name", revision="c" * 40)) == Weights(
        location="owner/name", revision="c" * 40
    )


@pytest.fixture
def pruned(store, ledger, tmp_path, home):
    """An old run whose work is in the store as well, and one that a driver works on."""
    write(ledger, small_ledger())
    files = {TUNED: ["checkpoint/adapter", "completions/a.jsonl", "log.txt"], BASE: ["log.txt"]}
    for run, names in files.items():
        for name in names:
            path = home / run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 1000)
    left = Storage(home, store)
    left.keep(home / TUNED / "checkpoint", home / TUNED / "completions" / "a.jsonl")
    store.put(f"{TUNED}/verdicts/a.jsonl", home / TUNED / "log.txt")
    return ledger


OLD = Keep(completions=1, checkpoints=1)


def test_pruning_takes_the_copies_in_the_store_too_and_only_those(pruned, store, home):
    kept = Copies.from_environment()
    assert kept is not None
    shutil.rmtree(home / TUNED / "checkpoint")  # only the store has it by now
    found = {one.run: one for one in prunable(pruned, home, OLD, kept)}
    assert found[TUNED].copies.size > 2000
    assert prune(pruned, found[TUNED], kept)

    assert store.manifest(f"{TUNED}/checkpoint") is None
    assert store.manifest(f"{TUNED}/completions/a.jsonl") is None
    assert store.manifest(f"{TUNED}/verdicts/a.jsonl") is not None
    assert not Storage(home, store).there(home / TUNED / "checkpoint")
    assert TUNED not in {one.run for one in prunable(pruned, home, OLD, kept)}


def test_a_dry_run_names_what_is_in_the_store_and_takes_nothing(
    pruned, ledger_url, store, monkeypatch, capsys
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)

    assert database(["prune", "--dry-run", "--keep-checkpoints", "1"]) == 0
    said = capsys.readouterr().out
    assert f"{TUNED}/checkpoint in the store" in said
    assert "completions in the store" not in said
    assert store.fetch(f"{TUNED}/checkpoint", Path(os.environ["CODELADDER_HOME"]) / "back")


def test_pruning_a_store_that_is_away_leaves_the_folder_as_it_is(pruned, home):
    kept = Copies.from_environment()
    (one,) = [one for one in prunable(pruned, home, OLD, kept) if one.run == TUNED]

    with pytest.raises(StoreAwayError, match="s3://no-such-bucket"):
        prune(pruned, one, Copies("s3://no-such-bucket/work"))
    assert (home / TUNED / "checkpoint" / "adapter").exists()


def test_a_link_in_a_store_that_is_a_folder_is_not_followed(tmp_path):
    elsewhere, store = tmp_path / "elsewhere", tmp_path / "store"
    (elsewhere / "checkpoint").mkdir(parents=True)
    (elsewhere / "checkpoint" / "mine").write_text("mine")
    (store / TUNED).mkdir(parents=True)
    (store / TUNED / "checkpoint").symlink_to(elsewhere / "checkpoint")
    (store / BASE).symlink_to(elsewhere)

    kept = Copies(store.as_uri())
    assert [kept.copies(run, ["checkpoint"]).folders for run in (TUNED, BASE)] == [(), ()]
    assert Copies(elsewhere.as_uri()).copies(".", ["checkpoint"]).size == 4


LATE = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]) / "tests"))
from small_training import order_of
from jobs.storage.going_on import GoingOn
from jobs.storage.keeping import Storage
from jobs.storage.store import Store
from jobs.training.fence import SupersededError

home, checkpoint, start = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
order = order_of(home / "base", home / "rows", home / "run")
mine = GoingOn(order, Storage(home, Store.from_environment()), start)
try:
    mine.saved(checkpoint)
except SupersededError as error:
    print(error)
    sys.exit(7)
"""


def test_a_late_worker_on_a_node_of_its_own_puts_nothing_over_its_successors_checkpoint(
    bucket, tmp_path
):
    """Frozen while it uploads, and alive again when its successors have put theirs."""
    store = Store(bucket.url)
    home = tmp_path / "driver's"
    order = order_of(home / "base", home / "rows", home / "run")
    name = "run/attempts"
    early, later = (tmp_path / step for step in ("step-00000012", "step-00000016"))
    for folder, count in ((early, 60), (later, 1)):
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:02}.safetensors").write_bytes(os.urandom(20_000))
    first = GoingOn(order, Storage(home, store))
    first.hand_over("driver-first")
    command = [sys.executable, "-c", LATE, str(ROOT), str(home), str(early), "driver-first"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as late:
        while len(bucket.listed()) < 3:
            time.sleep(0.01)
        late.send_signal(signal.SIGSTOP)
        GoingOn(order, first.storage, "driver-first").hand_over("driver-second")
        GoingOn(order, first.storage, "driver-second").saved(later)
        late.send_signal(signal.SIGCONT)
        said = late.communicate(timeout=60)[0]

    assert (late.returncode, "was started again, as driver-second" in said) == (7, True)
    assert store.manifest(name).title == later.name
    assert GoingOn(order, first.storage).reached() == 16


def test_a_late_driver_hands_its_training_to_nobody(store, tmp_path):
    order = order_of(tmp_path / "base", tmp_path / "rows", tmp_path / "run")
    storage = Storage(tmp_path, store)
    GoingOn(order, storage).hand_over("first-1")
    GoingOn(order, storage).hand_over("second-1")

    with pytest.raises(SupersededError, match="as second-1"):
        GoingOn(order, storage, "first-1").hand_over("first-2")
    GoingOn(order, storage, "second-1").require()
