"""Run one container: private mounts, processes and host name, an overlay root; it is pid 1.

``python -I -S container.py OUTPUT_FD`` reads one line of JSON (:class:`tests.cluster.runtime.View`)
from stdin, then commands, one a line: ``term`` and ``kill``. When stdin is closed, also because
whoever holds it was killed, the container is killed. On stdout: ``{"started": true}``, or
``{"error": …}``, and in the end ``{"code": …}``. Standard library only.

Needs root, or a kernel that lets users make user namespaces.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000,
)  # fmt: skip
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC = 1, 2, 4, 8, 32, 4096, 16384
_PRIVATE, _DETACH = 1 << 18, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def main() -> int:
    """Start the container, obey, and report its end."""
    output = int(sys.argv[1])
    view = json.loads(_line())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if os.geteuid() != 0:
            _become_root_of_a_namespace()
        _check(_libc.unshare(_NEWNS | _NEWUTS | _NEWIPC | _NEWPID), "unshare")
    except OSError as error:
        return _say(error=f"no namespaces: {error}")
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        try:
            _inside(view, output)
        except BaseException as error:  # whatever it is, the kubelet is to say it
            os.write(tells, f"{type(error).__name__}: {error}".encode())
        os._exit(127)
    os.close(tells)
    os.close(output)
    with os.fdopen(told, "rb") as pipe:  # closed by the kernel once the command runs
        failed = pipe.read().decode(errors="replace")
    if failed:
        os.waitpid(pid, 0)
        return _say(error=failed)
    _say(started=True)
    return _say(code=_obey(pid))


def _obey(pid: int) -> int:
    """Pass on what comes from stdin until the command has ended; return its exit code."""
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if ended in ready:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return code if code >= 0 else 128 - code
        word = _line().strip()
        if word == "term":
            os.kill(pid, signal.SIGTERM)
        else:  # "kill", or nobody is left who could say anything
            os.kill(pid, signal.SIGKILL)
            poll.unregister(0)


def _inside(view: dict[str, Any], output: int) -> None:
    """Become the container's command. ``tells`` is closed by the exec."""
    os.setsid()
    socket.sethostname(view["hostname"])
    root = view["root"]
    _mount("none", "/", "", _REC | _PRIVATE)
    layers = _overlay(root, view)
    _system(root, view)
    for source, target, read_only in view["binds"]:
        _bind(source, root + target, read_only)
    for target, size, mode in view["memory"]:
        _directory(root + target)
        _mount("tmpfs", root + target, "tmpfs", _NOSUID | _NODEV, f"size={size},mode={mode:o}")
        if not view["user"]:  # else one group is mapped, and it is the container's
            os.chown(root + target, 0, view["fs_group"])
    for folder in view["passable"]:  # the image's Python may lie in somebody's home
        path = Path(root + folder)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o011 != 0o011 and not view["user"]:
            path.chmod(mode | 0o011)
    for layer in layers if view["read_only"] else ():
        _mount("none", layer, "", _REMOUNT | _BIND | _RDONLY)
    _enter(root)
    _directory(view["cwd"])
    os.chdir(view["cwd"])
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.set_inheritable(output, False)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    _drop(view)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(view["command"][0], view["command"], view["environment"])
    except OSError as error:
        raise OSError(f'exec: "{view["command"][0]}": {error.strerror}') from None


def _overlay(root: str, view: dict[str, Any]) -> list[str]:
    """Mount a root that looks like the machine's, whose changes vanish with the container.

    Returns where it is mounted, the root itself first.
    """
    scratch = view["scratch"]
    _mount("tmpfs", scratch, "tmpfs", 0, "mode=755")
    if not view["user"]:
        _layer("/", root, f"{scratch}/root")
        return [root]
    # In a user namespace no folder can be taken below which something is mounted, so not "/".
    _mount("tmpfs", root, "tmpfs", 0, "mode=755")
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    layers = [root]
    for entry in Path("/").iterdir():
        if entry.is_symlink():
            Path(root + str(entry)).symlink_to(entry.readlink())
        elif entry.is_dir():
            _directory(root + str(entry))
            if not any(f"{mount}/".startswith(f"{entry}/") for mount in mounts):
                _layer(str(entry), root + str(entry), f"{scratch}/{entry.name}", ",userxattr")
                layers.append(root + str(entry))
    return layers


def _layer(source: str, target: str, scratch: str, more: str = "") -> None:
    for name in ("upper", "work"):
        _directory(f"{scratch}/{name}")
    Path(f"{scratch}/upper").chmod(stat.S_IMODE(Path(source).stat().st_mode))
    options = f"lowerdir={source},upperdir={scratch}/upper,workdir={scratch}/work{more}"
    _mount("overlay", target, "overlay", 0, options)


def _enter(root: str) -> None:
    """Make ``root`` the root; unlike after chroot, another user namespace may be entered then."""
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def _system(root: str, view: dict[str, Any]) -> None:
    _mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV)
    _mount("/sys", f"{root}/sys", "", _BIND | (_REC if view["user"] else 0))
    _mount("tmpfs", f"{root}/dev", "tmpfs", _NOSUID, "mode=755,size=65536k")
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", False)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path(f"{root}/dev/{name}").symlink_to(f"/proc/self/fd{target}")
    _directory(f"{root}/dev/shm")
    _mount("tmpfs", f"{root}/dev/shm", "tmpfs", _NOSUID | _NODEV, "mode=1777,size=65536k")
    for target in view["hidden"]:
        _directory(root + target)
        _mount("tmpfs", root + target, "tmpfs", _NOSUID | _NODEV, "mode=1777")


def _bind(source: str, target: str, read_only: bool) -> None:
    if Path(source).is_dir():
        _directory(target)
    elif not Path(target).exists():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    _mount(source, target, "", _BIND)
    if read_only:
        kept = os.statvfs(target).f_flag & (_NOSUID | _NODEV | _NOEXEC)
        _mount("none", target, "", _REMOUNT | _BIND | _RDONLY | kept)


def _drop(view: dict[str, Any]) -> None:
    """Become the container's user."""
    uid, gid = view["uid"], view["gid"]
    if view["user"]:  # one user is mapped, so show it under the number that is asked for
        if uid != 0:
            _enter_user_namespace(f"{uid} 0 1", f"{gid} 0 1")
    else:
        os.setgroups(view["groups"])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if view["no_new_privileges"]:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # After the change of user, which clears it. Of the launcher's death: the pid namespace's
    # first process is killed, and all of the others with it.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _become_root_of_a_namespace() -> None:
    _enter_user_namespace(f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1")


def _enter_user_namespace(users: str, groups: str) -> None:
    _check(_libc.unshare(_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", users), ("gid_map", groups)):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")


def _directory(path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(result, f"mount {source} on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _line() -> str:
    """Read one line from stdin, no byte more: select must see the rest."""
    data = b""
    while byte := os.read(0, 1):
        if byte == b"\n":
            break
        data += byte
    return data.decode()


def _say(**what: Any) -> int:
    os.write(1, json.dumps(what).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
