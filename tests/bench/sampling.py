"""Where the rest goes: a sampling profiler from outside, on the product's processes while they are under load.

`py-spy` (not a dependency) names Python functions and is used if it is on PATH. Otherwise `perf`, if it is there,
names native functions and shared objects: the interpreter, libcrypto, the kernel; not Python functions.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

SAMPLES_PER_S = 497
ROWS_SHOWN = 25
# Beyond the sampling itself: symbols are read when it ends.
FINISH_WAIT_MAX_S = 60


def _counted(title: str, counts: Counter[str], total: int) -> list[str]:
    return [
        f"  {title}",
        *(f"  {100 * count / total:6.1f} %  {name}" for name, count in counts.most_common(ROWS_SHOWN)),
    ]


def _stack_report(collapsed: str) -> list[str]:
    """From lines `frame;frame;frame count`: who runs (self) and who is on the stack (with callees)."""
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    total = 0
    for line in collapsed.splitlines():
        stack, _, count_text = line.rpartition(" ")
        count = int(count_text)
        frames = [frame.strip() for frame in stack.split(";")]
        own[frames[-1]] += count
        for frame in set(frames):
            inclusive[frame] += count
        total += count
    if not total:
        return ["  no samples"]
    return [
        f"  {total} samples",
        *_counted("self:", own, total),
        *_counted("with callees:", inclusive, total),
    ]


def _py_spy(pid: int, duration_s: int, output: Path) -> list[str]:
    return [
        "py-spy", "record", "--pid", str(pid), "--duration", str(duration_s), "--rate", str(SAMPLES_PER_S),
        "--format", "raw", "--function", "--output", str(output),
    ]  # fmt: skip


def _perf(pid: int, duration_s: int, output: Path) -> list[str]:
    frequency = str(SAMPLES_PER_S)
    return [
        "perf", "record", "--quiet", "--freq", frequency, "--pid", str(pid), "--output", str(output),
        "--", "sleep", str(duration_s),
    ]  # fmt: skip


def _perf_report(output: Path) -> list[str]:
    lines = []
    for title, sort in (("by shared object:", "dso"), ("by native function:", "dso,symbol")):
        command = ["perf", "report", "--stdio", "--quiet", "--no-children", "--input", str(output), "--sort", sort]
        text = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FINISH_WAIT_MAX_S).stdout
        # perf ends a row with "-" for columns that it has no value for.
        rows = [line.rstrip(" -") for line in text.splitlines() if line.strip() and not line.startswith("#")]
        lines += [f"  {title}", *(f"  {row}" for row in rows[:ROWS_SHOWN])]
    return lines


def profile(pids: dict[str, tuple[int, ...]], duration_s: int, under_load: Callable[[], object]) -> list[str]:
    """Sample the first process of each role while `under_load` runs; the report's lines."""
    tool = next((name for name in ("py-spy", "perf") if shutil.which(name)), None)
    if tool is None:
        return ["profile: neither py-spy nor perf is on PATH"]
    lines = [] if tool == "py-spy" else ["profile: py-spy is not on PATH; perf names native functions only"]
    build = _py_spy if tool == "py-spy" else _perf
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-profile-") as folder:
        outputs = {role: Path(folder) / role for role in pids}
        samplers = {
            role: subprocess.Popen(
                build(pids[role][0], duration_s, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            for role, output in outputs.items()
        }
        try:
            under_load()
            for role, sampler in samplers.items():
                _, complaint = sampler.communicate(timeout=FINISH_WAIT_MAX_S)
                lines.append(f"{role} (pid {pids[role][0]}), {tool}:")
                if sampler.returncode or not outputs[role].exists():
                    lines.append(f"  failed: {complaint.strip()}")
                elif tool == "py-spy":
                    lines += _stack_report(outputs[role].read_text())
                else:
                    lines += _perf_report(outputs[role])
        finally:
            for sampler in samplers.values():
                if sampler.poll() is None:
                    sampler.kill()
                    sampler.wait()
    return lines
