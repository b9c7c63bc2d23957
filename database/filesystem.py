"""Is a folder on a filesystem that other hosts may write to as well?"""

import re
from pathlib import Path

NETWORK_FILESYSTEMS = frozenset(
    (
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "drvfs",
        "fakeowner",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "prl_fs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
        "wekafs",
    )
)
"""Types whose files another host, or the host of this virtual machine, sees under locks that are
not ours."""
LOCAL_FUSE = frozenset(
    (
        "fuse.bindfs",
        "fuse.encfs",
        "fuse.fuse-overlayfs",
        "fuse.gocryptfs",
        "fuse.mergerfs",
        "fuse.ntfs-3g",
        "fuse.unionfs",
    )
)
"""Programs that show a local disk; what any other one shows may be anywhere. `fuseblk` is local."""
MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path) -> str | None:
    """Return the type of the network filesystem `folder` is on; None: a local disk or unknown."""
    if not MOUNTS.exists():
        return None
    found = _deepest(folder.resolve(), MOUNTS.read_text())
    return found[0] if found and _is_shared(*found) else None


def filesystem(folder: Path, mounts: str) -> str | None:
    """Return the type of the deepest mount that holds `folder`, an absolute path.

    A folder that is bound to another place is listed with the type of what it comes from.

    Args:
        folder: where to look; need not exist.
        mounts: the text of /proc/mounts: device, mount point, type, options, in each line.
    """
    found = _deepest(folder, mounts)
    return found[0] if found else None


def _is_shared(kind: str, options: str) -> bool:
    if kind == "9p":  # a sandbox's own disk is one too, reached through an open file
        return "trans=fd" not in options.split(",")
    fuse = kind == "fuse" or kind.startswith("fuse.")
    return kind in NETWORK_FILESYSTEMS or (fuse and kind not in LOCAL_FUSE)


def _deepest(folder: Path, mounts: str) -> tuple[str, str] | None:
    """Type and options of the mount that holds a folder; of two at one point the later one."""
    found: tuple[int, tuple[str, str]] | None = None
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split(" ")
        place = Path(_unescaped(point))
        if folder.is_relative_to(place) and (not found or len(place.parts) >= found[0]):
            found = len(place.parts), (kind, options)
    return found[1] if found else None


def _unescaped(point: str) -> str:
    """A mount point without the octal escapes of blanks, tabs and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
