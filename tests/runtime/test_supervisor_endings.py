"""Every way an attempt can end: exit code, record, termination message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpukit.ladder import Cause, ExitCode
from tests.runtime.pod import Run

MakeRun = Callable[..., Run]


def test_a_function_that_returns_finishes_the_run(make_run: MakeRun) -> None:
    run = make_run("""
        def main(epochs):
            for step in range(1, epochs + 1):
                send("step", step=step, total=epochs, metrics={"loss": float("nan")})
            send("durable", step=epochs, seconds=0.1, bytes=10)
            return {"loss": 0.5, "best": float("inf")}
    """)
    code, pod = run.run(arguments={"epochs": 3})
    assert code == 0, pod.output
    assert pod.message["cause"] == "finished"
    assert pod.message["exit_code"] == 0
    assert pod.message["result"] == {"loss": 0.5, "best": "inf"}
    assert pod.message["step"] == pod.message["durable_step"] == pod.message["steps"] == 3
    assert pod.message["totals"]["attempts"] == 1
    result = run.record.result()
    assert result is not None
    assert (result.value, result.step, result.attempt) == ({"loss": 0.5, "best": "inf"}, 3, 1)
    (attempt,) = run.record.attempts()
    assert attempt.cause is Cause.FINISHED
    assert attempt.progress.durable_step == 3
    assert attempt.progress.first_step_at is not None
    assert (attempt.start.pod_uid, attempt.start.node, attempt.start.index) == (
        "uid-1",
        "node-a",
        0,
    )
    assert [line["step"] for line in pod.lines("progress")] == [1, 2, 3]
    assert pod.lines("progress")[0]["metrics"] == {"loss": "nan"}
    assert pod.lines("checkpoint")[0]["bytes"] == 10
    assert pod.lines("end")[0]["cause"] == "finished"


def test_a_finished_run_is_not_run_again(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            print("running", flush=True)
            return 7
    """)
    run.run()
    code, pod = run.run()
    assert code == 0
    assert "running" not in pod.output
    assert pod.message["cause"] == "finished"
    assert pod.message["result"] == 7
    assert len(run.record.attempts()) == 1


def test_an_exception_is_a_crash_with_the_users_traceback(make_run: MakeRun) -> None:
    run = make_run("""
        def inner():
            raise ValueError("bad batch")
        def main():
            inner()
    """)
    code, pod = run.run()
    assert code == 1
    assert "ValueError: bad batch" in pod.output
    assert "in inner" in pod.output
    assert "trainer.py" not in pod.output
    assert pod.message["cause"] == "crash"
    assert pod.message["reason"] == "ValueError: bad batch"
    (attempt,) = run.record.attempts()
    assert attempt.end is not None
    assert attempt.end.error


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os._exit(0)", "exit code 0 before the function returned"),
        ("os._exit(75)", "exit code 75 before the function returned"),
        ("sys.exit(75)", "sys.exit(75)"),
        ("sys.exit(64)", "sys.exit(64)"),
        ("sys.exit('no data')", "sys.exit('no data')"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import numppy", "numppy"),
    ],
)
def test_whatever_else_ends_the_trainer_is_a_crash(
    make_run: MakeRun, body: str, reason: str
) -> None:
    code, pod = make_run(f"def main():\n    {body}\n").run()
    assert code == 1, pod.output
    assert pod.message["cause"] == "crash"
    assert reason in pod.message["reason"]


def test_a_segfault_shows_where_the_code_was(make_run: MakeRun) -> None:
    _, pod = make_run("""
        def deep():
            import ctypes
            ctypes.string_at(0)
        def main():
            deep()
    """).run()
    assert "Segmentation fault" in pod.output
    assert "in deep" in pod.output


@pytest.mark.parametrize("body", ["sys.exit()", "sys.exit(0)"])
def test_sys_exit_without_an_error_finishes(make_run: MakeRun, body: str) -> None:
    code, pod = make_run(f"def main():\n    {body}\n").run()
    assert code == 0, pod.output
    assert pod.message["result"] is None


def test_a_module_that_is_missing_is_named_with_the_way_out(make_run: MakeRun) -> None:
    code, pod = make_run("import not_there.sub\ndef main(): pass\n").run()
    assert code == 1
    assert "packages=['not_there']" in pod.output


def test_a_function_that_is_missing_is_permanent(make_run: MakeRun) -> None:
    code, pod = make_run("def main(): pass\n").run(function="other")
    assert code == 64
    assert pod.message["cause"] == "permanent"
    assert "no function 'other'" in pod.message["reason"]


def test_an_error_that_a_person_must_act_on_is_permanent(make_run: MakeRun) -> None:
    code, pod = make_run("""
        from gpukit.errors import SpecError
        def main():
            raise SpecError("x", "the shape is wrong", "change it")
    """).run()
    assert code == 64
    assert pod.message["reason"] == "the shape is wrong (change it)"


def test_a_result_without_json_is_kept_as_text(make_run: MakeRun) -> None:
    code, pod = make_run("""
        import numpy
        class Model:
            def __repr__(self):
                return "Model!"
        def main():
            return {"model": Model(), "loss": numpy.float32(0.5), "n": numpy.asarray(3), 1: (2,)}
    """).run()
    assert code == 0
    assert pod.message["result"] == {"model": {"repr": "Model!"}, "loss": 0.5, "n": 3, "1": [2]}
    assert "the return value['model'] is a Model" in pod.output


def test_a_gpu_job_is_unwrapped(make_run: MakeRun) -> None:
    code, pod = make_run("""
        from gpukit import gpu_job
        @gpu_job(profile="cpu")
        def main():
            return sys.argv, os.getcwd(), "JOB_COMPLETION_INDEX" in os.environ
    """).run()
    assert code == 0, pod.output
    argv, cwd, index = pod.message["result"]
    assert argv == ["job"]
    assert cwd.endswith("work-1/code/src")
    assert index is False


def test_the_message_stays_under_its_limit(make_run: MakeRun) -> None:
    _, crashed = make_run("def main(): raise ValueError('ü' * 5000)\n").run()
    assert crashed.message["reason"].startswith("ValueError: üüü")
    code, finished = make_run("def main(): return 'x' * 5000\n").run()
    assert code == 0
    assert finished.message["result_omitted"] is True
    assert "result" not in finished.message


def test_a_trainer_that_cannot_be_started_still_leaves_a_message(make_run: MakeRun) -> None:
    run = make_run("def main(): pass\n")
    run.root.mkdir()
    run.store.write_text("a file where the directory should be")
    code, pod = run.run()
    assert code == 1
    assert pod.message["cause"] == "crash"
    assert "store" in pod.message["reason"]


def test_the_last_allowed_crash_ends_the_run_without_another_pod(make_run: MakeRun) -> None:
    run = make_run("""
        def main():
            raise ValueError(context.current().attempt)
    """)
    codes = [run.run(retries=1)[0] for _ in range(2)]
    assert codes == [ExitCode.CRASH, ExitCode.PERMANENT]
    last = run.record.attempts()[-1]
    assert last.cause is Cause.CRASH
    assert last.end is not None
    assert "ValueError: 2; no further attempt: retries=1 used up" in last.end.reason


def test_no_structured_line_is_torn_by_what_the_function_prints(make_run: MakeRun) -> None:
    """A part of a line stays open for long; ``print`` without a buffer writes twice a line."""
    code, pod = make_run("""
        def main():
            for step in range(1, 301):
                print("word", flush=True)
                send("step", step=step, total=300)
            sys.stdout.write("half")
            sys.stdout.flush()
            time.sleep(2)
            send("durable", step=300, seconds=0.1, bytes=10)
            time.sleep(2)
            sys.stdout.write(" of a line\\nno end")
            sys.stdout.flush()
    """).run()
    assert code == 0
    lines = [x for x in pod.output.splitlines() if not x.startswith('{"gpukit"')]
    assert lines[:300] == ["word"] * 300
    assert lines[300:] in (
        ["half", " of a line", "no end"],
        ["half of a line", "no end"],  # where the machine was slow
    )
    assert [line["step"] for line in pod.lines("progress")] == list(range(1, 301))
    assert pod.lines("checkpoint")[0]["step"] == 300


def test_what_is_printed_last_is_not_lost(make_run: MakeRun) -> None:
    code, pod = make_run("""
        def main():
            sys.stdout.write("x" * 3_000_000 + "\\n")
            sys.stdout.flush()
            print("last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """).run()
    assert code == 1
    assert "x" * 3_000_000 + "\nlast words\n" in pod.output


def test_lines_of_several_ranks_say_whose_they_are(make_run: MakeRun) -> None:
    code, pod = make_run("""
        def main():
            print("first\\nsecond", flush=True)
            sys.stdout.write("begins")
            sys.stdout.flush()
            time.sleep(0.5)
            print(" and ends", flush=True)
    """).run(processes=2)
    assert code == 0
    for rank in range(2):
        mark = f"[rank {rank}] "
        mine = [x.removeprefix(mark) for x in pod.output.splitlines() if x.startswith(mark)]
        assert mine in (
            ["first", "second", "begins", " and ends"],
            ["first", "second", "begins and ends"],  # where the machine was slow
        )
    assert all(x.startswith(("[rank ", '{"gpukit"')) for x in pod.output.splitlines())
