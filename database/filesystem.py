"""Is a folder on a network filesystem?"""

from pathlib import Path

NETWORK_FILESYSTEMS = frozenset(
    (
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph-fuse",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb3",
        "smbfs",
        "wekafs",
    )
)
MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path) -> str | None:
    """Return the type of the network filesystem `folder` is on; None: a local disk or unknown."""
    if not MOUNTS.exists():
        return None
    kind = filesystem(folder.resolve(), MOUNTS.read_text())
    return kind if kind in NETWORK_FILESYSTEMS else None


def filesystem(folder: Path, mounts: str) -> str | None:
    """Return the type of the deepest mount that holds `folder`, an absolute path.

    Args:
        folder: where to look; need not exist.
        mounts: the text of /proc/mounts: device, mount point, type, in each line.
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split()
        place = Path(point.replace("\\040", " "))
        if folder.is_relative_to(place) and (not found or len(place.parts) >= found[0]):
            found = len(place.parts), kind
    return found[1] if found else None
