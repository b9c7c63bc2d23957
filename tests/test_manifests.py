"""Clusters as files: mistakes told at once, and manifests that their own readers accept."""

import copy
import json
import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.acting import Hands
from cluster.declared import PLACES, Cloud, Hosts, Kubernetes, Slurm, ThisMachine, load
from cluster.places import clouds, kuberay, kubernetes
from cluster.places import slurm as slurm_place
from cluster.places.place import Named, Submission
from cluster.ports import LAST, SPAN, of_slurm
from cluster.session import ClusterError

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "cluster").glob("*.yaml"))


def test_every_place_has_a_file_to_start_from():
    assert {load(file).place for file in FILES} == set(PLACES)


def written(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def refused(folder, text):
    with pytest.raises(ClusterError) as caught:
        load(written(folder, text))
    return str(caught.value)


def test_all_mistakes_of_a_file_are_told_at_once_with_the_nearest_key(tmp_path):
    told = refused(
        tmp_path,
        "place: kubernetes\nimage: x\nclaim: A B\nworkers: {gpu: {cout: 2}}\nhead: {cpu: 1}\n",
    )

    assert "claim: " in told
    assert "home: required, but not there" in told
    assert "workers.gpu.cout: unknown key. Did you mean 'count'?" in told
    assert "head.cpu: unknown key. Did you mean 'cpus'?" in told


@pytest.mark.parametrize(
    ("name", "more", "fewer", "told"),
    [
        ("aws", "least: 4", "least: 1", "workers.gpu.least: 1 is not most, 4"),
        ("kubernetes", "count: 2", "count: 2, most: 3", "workers.gpu.most: 3 is not count, 2"),
    ],
)
def test_machines_that_would_come_as_work_asks_for_them_are_refused(
    name, more, fewer, told, tmp_path
):
    text = (ROOT / "cluster" / f"{name}.yaml").read_text()

    assert more in text
    assert told in refused(tmp_path, text.replace(more, fewer))


def test_a_place_that_is_none_names_the_nearest(tmp_path):
    assert "Did you mean 'kubernetes'?" in refused(tmp_path, "place: kubernets\n")


def test_a_file_that_is_not_there_names_the_nearest(capsys):
    assert main(["up", str(ROOT / "cluster" / "laptp.yaml"), "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'laptop.yaml'?" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("folder: /opt/$(reboot)", "folder"),
        ("folder: opt", "folder"),
        ("head: -oProxyCommand=sh", "head"),
        ("workers: [10.0.0.2; reboot]", "workers.0"),
        ("python: python3 -c 1", "python"),
        ("workers: [10.0.0.2, 10.0.0.2]", "stands twice"),
        ("workers: [10.0.0.1]", "is the head"),
        ("pass_on: [HF_TOKEN=hf_x]", "values stand in the environment"),
        ("ports: 60000", "ports"),
    ],
)
def test_what_a_shell_would_read_otherwise_is_refused(line, told, tmp_path):
    good = {
        "place": "hosts",
        "head": "10.0.0.1",
        "workers": "[10.0.0.2]",
        "folder": "/opt/codeladder",
        "home": "/mnt/codeladder",
    }
    key, _, value = line.partition(": ")
    text = "".join(f"{name}: {value}\n" for name, value in (good | {key: value}).items())

    assert told in refused(tmp_path, text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dry_run_writes_nothing_runs_nothing_and_shows_no_secret(
    file, capsys, home, monkeypatch, tmp_path
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", "postgresql://me:s3cret@db/ledger")
    monkeypatch.setenv("PATH", str(tmp_path))  # there is nothing to run

    assert main(["up", str(file), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "run " in said
    assert "s3cret" not in said
    assert not home.exists()


def test_the_name_of_a_file_is_a_name_for_a_cluster(tmp_path, capsys):
    bad = tmp_path / "my cluster; reboot.yaml"
    bad.write_text("place: this-machine\n")

    assert main(["up", str(bad), "--dry-run"]) == 2
    assert "small letters" in capsys.readouterr().err


def test_a_variable_that_is_not_set_is_named(capsys, monkeypatch):
    monkeypatch.delenv("CODELADDER_DATABASE_URL", raising=False)

    assert main(["up", str(ROOT / "cluster" / "slurm.yaml"), "--dry-run"]) == 2
    assert "CODELADDER_DATABASE_URL not set" in capsys.readouterr().err


KUBERNETES = load(ROOT / "cluster" / "kubernetes.yaml")


def sent(wait=False):
    return Submission(experiment=ROOT / "experiments" / "smoke.yaml", name="smoke-1", wait=wait)


def kube_manifests():
    config, job = kubernetes.job_manifests(KUBERNETES, "smoke-1", sent())
    return {
        "cluster": kubernetes.cluster_manifest(KUBERNETES, "mine"),
        "config": config,
        "job": job,
    }


def put(manifest, way, value):
    mutant = copy.deepcopy(manifest)
    *path, last = way.split(".")
    at = mutant
    for key in path:
        at = at[int(key)] if key.isdigit() else at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return mutant


@pytest.mark.parametrize("which", ["cluster", "config", "job"])
def test_what_we_write_for_kubernetes_is_accepted(which):
    kuberay.check(kube_manifests()[which])


POD = "spec.workerGroupSpecs.0.template.spec"


@pytest.mark.parametrize(
    ("which", "way", "value"),
    [
        ("cluster", "apiVersion", "ray.io/v1alpha1"),
        ("cluster", "kind", "RayClustr"),
        ("cluster", "metadata.name", "My_Cluster"),
        ("cluster", "spec.rayVersoin", "2.60.0"),
        ("cluster", "spec.authOptions", None),
        ("cluster", "spec.authOptions.mode", "disabled"),
        ("cluster", "spec.headGroupSpec", None),
        ("cluster", "spec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("cluster", "spec.workerGroupSpecs.0.replicas", "2"),
        ("cluster", "spec.workerGroupSpecs.0.maxReplicas", 1),
        ("cluster", f"{POD}.containers.0.resources.limits.memory", "128 gigabytes"),
        ("cluster", f"{POD}.containers.0.volumeMounts.0.name", "wrok"),
        ("cluster", f"{POD}.containers.0.securityContext.privileged", True),
        ("cluster", f"{POD}.securityContext.runAsUser", 0),
        ("cluster", f"{POD}.volumes.0.emptyDir", {"medium": "Memory", "sizeLimit": "1Gi"}),
        ("cluster", f"{POD}.hostNetwork", True),
        ("job", "spec.backoffLimit", -1),
        ("job", "spec.backofLimit", 3),
        ("job", "spec.entrypoint", ""),
        ("job", "spec.submissionMode", "HttpMode"),
        ("job", "spec.rayClusterSpec", None),
        ("config", "data.smoke.yaml", 1),
    ],
)
def test_a_mutant_for_kubernetes_is_refused(which, way, value):
    manifest = kube_manifests()[which]
    way = "data.extra" if which == "config" else way

    with pytest.raises(ClusterError):
        kuberay.check(put(manifest, way, value))


def test_no_work_runs_on_the_head_pod_and_drivers_run_beside_the_work():
    spec = kube_manifests()["cluster"]["spec"]
    offered = spec["workerGroupSpecs"][0]["rayStartParams"]["resources"]

    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    # KubeRay puts it into a shell's command line, whose quotes the second reading takes off.
    assert json.loads(json.loads(offered)) == {"driver": 16}


def test_the_experiment_travels_with_its_rayjob():
    manifests = kube_manifests()

    assert manifests["config"]["data"]["smoke.yaml"] == sent().experiment.read_text()
    assert "experiments/submitted/smoke.yaml" in manifests["job"]["spec"]["entrypoint"]


@pytest.mark.parametrize(
    ("file", "name", "told"),
    [("mine; reboot.yaml", "x", "a ConfigMap takes"), ("smoke.yaml", "x" * 48, "at most 47")],
)
def test_a_name_that_kubernetes_or_a_shell_would_read_otherwise_is_refused(
    file, name, told, tmp_path
):
    experiment = tmp_path / file
    experiment.write_text((ROOT / "experiments" / "smoke.yaml").read_text())
    place = kubernetes.OnKubernetes(
        declared=KUBERNETES, named=Named(name="lab", home=tmp_path), hands=Hands(True)
    )

    with pytest.raises(ClusterError, match=told):
        place.submit(Submission(experiment=experiment, name=name))


@pytest.fixture(params=["aws", "gcp"])
def launched(request, tmp_path):
    declared = load(ROOT / "cluster" / f"{request.param}.yaml")
    return clouds.launcher(declared, Named(name=request.param, home=tmp_path))


@pytest.fixture(scope="module")
def validate():
    """Ray's own validation, in another process: who imports Ray can start no cluster of ours."""
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        yield lambda manifest: apart.submit(clouds.validate, manifest).result()


def test_what_we_write_for_rays_launcher_is_accepted(launched, validate):
    validate(launched)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("max_wrokers", 3),
        ("max_workers", "three"),
        ("head_node_type", "haed"),
        ("available_node_types.gpu.min_workers", 99),
        ("available_node_types.gpu.node_config", None),
        ("available_node_types.head.resources.CPU", "two"),
        ("provider.type", None),
        ("setup_commands", "make setup"),
        ("auth.ssh_usr", "ubuntu"),
    ],
)
def test_a_mutant_for_rays_launcher_is_refused(launched, validate, way, value):
    with pytest.raises(ClusterError):
        validate(put(launched, way, value))


def test_a_cloud_gets_the_token_as_a_file_and_never_in_a_command(launched, tmp_path):
    assert launched["file_mounts"]["~/.codeladder/token"] == str(tmp_path / "cluster.token")
    assert launched["available_node_types"]["head"]["resources"]["CPU"] == 0


SLURM = Slurm(
    place="slurm", nodes=2, cpus=2, gpus=1, time="0:10:00", folder=str(ROOT), home="/tmp/home"
)


def test_two_clusters_on_one_node_take_different_ports():
    firsts = [of_slurm(job).first for job in range(1000, 1021)]

    assert len(set(firsts)) == 21
    assert max(firsts) + SPAN <= LAST + SPAN


def test_the_batch_script_counts_its_ports_as_we_do(tmp_path):
    text = slurm_place.script(SLURM, "codeladder-x", tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("first="))

    for job in (1, 20, 21, 4711):
        counted = subprocess.run(
            ["bash", "-c", f"SLURM_JOB_ID={job}; {line}\necho $first"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(counted.stdout) == of_slurm(job).first


@pytest.mark.parametrize("work", [slurm_place.STAND, slurm_place.RUN])
def test_the_batch_script_is_valid_bash(work, tmp_path):
    text = slurm_place.script(SLURM, "codeladder-x", tmp_path, work)

    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_an_allocation_of_one_experiment_is_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "experiments")
    said = []
    declared = SLURM.model_copy(update={"home": str(tmp_path)})
    place = slurm_place.OnSlurm(
        declared=declared, named=Named(name="lab", home=tmp_path), hands=Hands(True, said.append)
    )

    place.submit(Submission(experiment=Path("smoke.yaml"), name="x", restarts=4))

    told = "\n".join(said)
    assert "cluster submit experiments/smoke.yaml --at" in told
    assert "--restarts 4" in told
    assert "--record" not in told
    assert "--job-name=codeladder-lab.x" in told


def test_a_secret_that_hands_write_is_its_owners_alone(tmp_path):
    Hands().write(tmp_path / "deep" / "token", "x", secret=True)

    assert (tmp_path / "deep" / "token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("declared", [ThisMachine, Hosts, Kubernetes, Slurm, Cloud])
def test_every_key_of_a_cluster_is_documented(declared):
    page = (ROOT / "docs" / "cluster.md").read_text()

    assert {key for key in declared.model_fields if f"`{key}`" not in page} == set()
