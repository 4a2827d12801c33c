"""Parallel loops in native code, and the pool of threads that runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stepwell.codegen.jit import NativeProgram
from stepwell.codegen.objects import build
from stepwell.codegen.process_pool import pool, thread_count
from stepwell.ir.diagnostics import InputError
from stepwell.ir.loop import interpret_program, parse_loops, verify_loops
from stepwell.ir.target import host

COUNTS = (1, 2, 3, 7)
SCALE = parse_loops("""
program scale[N] {
  input x: f32[N]
  output y: f32[N]
  workspace 64*pool.threads
  call scale[N, pool.threads](x, y) scratch 0
}
kernel scale[N, tasks](x: f32[N] in, y: f32[N] out) pointwise {
  alloc least: f32[tasks, 16] scratch
  alloc factor: f32[16] register
  for l in 0..16 vector { factor[l] = 3.0 }
  let shift: f32 = x[0]
  for round in 0..2 {
    for task in 0..tasks parallel {
      let first: i64 = task * N // tasks
      least[task, 0] = hmax(factor) * f32(round)
      for i in 0..(task + 1) * N // tasks - task * N // tasks {
        check x[first + i] < 2000.0, "too large"
        check x[first + i] > -2000.0, "too small"
        y[first + i] = x[first + i] * least[task, 0] + shift
      }
    }
  }
}
""")


TOGETHER = parse_loops("""
program both[N] {
  input x: f32[N]
  output y: f32[N]
  output z: f32[N]
  output w: f32[N]
  workspace 128
  together {
    call triple[N](x, y) scratch 0
    call negate[N](x, z)
    call triple[N](x, w) scratch 64
  }
}
kernel triple[N](x: f32[N] in, y: f32[N] out) pointwise {
  alloc least: f32[16] scratch
  for i in 0..N {
    check x[i] < 2000.0, "too large"
    least[0] = 3.0 * x[i]
    y[i] = least[0] + 1.0
  }
}
kernel negate[N](x: f32[N] in, z: f32[N] out) pointwise {
  for i in 0..N {
    check x[i] < 500.0, "too large to negate"
    z[i] = -x[i]
  }
}
""")


@pytest.fixture(scope="module")
def both() -> NativeProgram:
    verify_loops(TOGETHER)
    return NativeProgram.compile(TOGETHER, host())


@pytest.fixture(scope="module")
def scale() -> NativeProgram:
    verify_loops(SCALE)
    return NativeProgram.compile(SCALE, host())


def run_all(native: NativeProgram, x: np.ndarray, threads: int) -> tuple[str, list[np.ndarray]]:
    outputs = [np.zeros_like(x) for _ in range(native.outputs)]
    team = pool(threads)
    memory = np.zeros(native.workspace_size([x.size], team) + 64, np.uint8)
    place = memory.ctypes.data + -memory.ctypes.data % 64
    addresses = [array.ctypes.data for array in outputs]
    status = native.run([x.size], [x.ctypes.data], addresses, 0, place, team)
    return native.error_message(status), outputs


def run(native: NativeProgram, x: np.ndarray, threads: int) -> tuple[str, np.ndarray]:
    message, (y,) = run_all(native, x, threads)
    return message, y


@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_parallel_loop(scale: NativeProgram, threads: int, n: int) -> None:
    """Captured are: sizes, pointers, an outer index, a let, registers, a task's scratch."""
    x = np.arange(n, dtype=np.float32) + 1
    message, y = run(scale, x, threads)
    assert message == "ok"
    np.testing.assert_array_equal(y, 3 * x + 1)
    found = interpret_program(SCALE, {"x": x}, {}, threads=threads)["y"]
    np.testing.assert_array_equal(y, found)


@pytest.mark.parametrize("threads", COUNTS)
def test_the_first_failure_tells(scale: NativeProgram, threads: int) -> None:
    x = np.ones(100, np.float32)
    x[[20, 60, 90]] = -5000, 5000, -5000
    assert run(scale, x, threads)[0] == "too small"
    with pytest.raises(InputError, match="too small"):
        interpret_program(SCALE, {"x": x}, {}, threads=threads)
    x[20] = 0
    assert run(scale, x, threads)[0] == "too large"
    with pytest.raises(InputError, match="too large"):
        interpret_program(SCALE, {"x": x}, {}, threads=threads)


@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_calls_together(both: NativeProgram, threads: int, n: int) -> None:
    x = np.arange(n, dtype=np.float32) / 4 + 1
    message, outputs = run_all(both, x, threads)
    assert message == "ok"
    found = interpret_program(TOGETHER, {"x": x}, {}, threads=threads)
    for y, expected, name in zip(outputs, (3 * x + 1, -x, 3 * x + 1), "yzw", strict=True):
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("threads", COUNTS)
@pytest.mark.parametrize(("value", "message"), [(600, "too large to negate"), (2500, "too large")])
def test_the_first_call_that_fails_tells(
    both: NativeProgram, threads: int, value: float, message: str
) -> None:
    x = np.ones(100, np.float32)
    x[70] = value
    assert run_all(both, x, threads)[0] == message
    with pytest.raises(InputError, match=f"^{message}$"):
        interpret_program(TOGETHER, {"x": x}, {}, threads=threads)


def test_many_callers_at_once(scale: NativeProgram, both: NativeProgram) -> None:
    """Whoever finds the pool taken does the work alone; nobody waits, all are right."""
    xs = [np.full(500, i, np.float32) for i in range(8)]

    def repeatedly(x: np.ndarray) -> bool:
        alone = all((run(scale, x, 3)[1] == 4 * x).all() for _ in range(300))
        found = (run_all(both, x, 3)[1] for _ in range(300))
        return alone and all((y == 3 * x + 1).all() and (z == -x).all() for y, z, _ in found)

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(repeatedly, xs))


def test_fork(scale: NativeProgram) -> None:
    """A child has threads of its own, its parent goes on; also while other threads are busy."""
    x = np.arange(100, dtype=np.float32)
    run(scale, x, 1)  # symbols are looked up now: a child may find LLVM's lock taken for ever
    with ThreadPoolExecutor(2) as callers:
        busy = [callers.submit(lambda: [run(scale, x, 2) for _ in range(2000)]) for _ in range(2)]
        for _ in range(10):
            child = os.fork()
            if child == 0:
                right = all((run(scale, x, 3)[1] == 3 * x).all() for _ in range(20))
                os._exit(0 if right else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert (run(scale, x, 2)[1] == 3 * x).all()
        for job in busy:
            job.result()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STEPWELL_THREADS": "5", "OMP_NUM_THREADS": "3"}, 5),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"STEPWELL_THREADS": "none", "OMP_NUM_THREADS": "-1"}, len(os.sched_getaffinity(0))),
        ({"STEPWELL_THREADS": "99999"}, 256),
    ],
)
def test_how_many_threads(environment: dict[str, str], expected: int) -> None:
    code = "from stepwell.codegen.process_pool import thread_count as n; print(n(), n(4))"
    clean = {
        k: v for k, v in os.environ.items() if k not in ("STEPWELL_THREADS", "OMP_NUM_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(expected), "4"]
    assert thread_count(2) == 2


CALLER = """
#include "scale.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { void (*task)(void *, int64_t); void *argument; int64_t i; } job;
static int64_t calls = 0;

static void *one(void *p) { job *j = p; j->task(j->argument, j->i); return NULL; }

/* A parallel-for of the caller's own: a thread for each task. */
static void run(void *context, void (*task)(void *, int64_t), void *argument, int64_t tasks) {
    pthread_t threads[16];
    job jobs[16];
    for (int64_t i = 0; i < tasks; i++) {
        jobs[i] = (job){task, argument, i};
        if (pthread_create(&threads[i], NULL, one, &jobs[i])) abort();
    }
    for (int64_t i = 0; i < tasks; i++) pthread_join(threads[i], NULL);
    ++*(int64_t *)context;
}

static int check(const stepwell_pool *pool) {
    enum { N = 1000 };
    static float x[N], y[N];
    void *workspace = aligned_alloc(64, (size_t)scale_workspace_size(N, pool));
    for (int i = 0; i < N; i++) x[i] = (float)(i + 1);
    if (scale_run(N, x, y, NULL, workspace, pool)) return 1;
    for (int i = 0; i < N; i++) if (y[i] != 3 * x[i] + 1) return 2;
    free(workspace);
    return 0;
}

static int check_both(const stepwell_pool *pool) {
    enum { N = 400 };
    static float x[N], y[N], z[N], w[N];
    void *workspace = aligned_alloc(64, (size_t)both_workspace_size(N, pool));
    for (int i = 0; i < N; i++) x[i] = (float)(i + 1);
    if (both_run(N, x, y, z, w, NULL, workspace, pool)) return 1;
    for (int i = 0; i < N; i++)
        if (y[i] != 3 * x[i] + 1 || z[i] != -x[i] || w[i] != y[i]) return 2;
    free(workspace);
    return 0;
}

int main(void) {
    stepwell_pool theirs = {run, &calls, 7}, ours = {NULL, NULL, 3};
    for (int round = 0; round < 50; round++)
        if (check(&theirs) || check(&ours) || check(NULL)) return 1;
    for (int round = 0; round < 50; round++)
        if (check_both(&theirs) || check_both(&ours) || check_both(NULL)) return 1;
    printf("%d calls\\n", (int)calls);
    return 0;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("scale")
    build([SCALE, TOGETHER], host(), folder / "libscale.so")
    return str(folder)


def test_pool_in_a_shared_object(library: str) -> None:
    """Its own threads, or the caller's parallel-for; of libraries it needs libc alone."""
    needed = subprocess.run(["ldd", f"{library}/libscale.so"], capture_output=True, text=True)
    assert set(re.findall(r"(\S+) =>", needed.stdout)) <= {"libc.so.6", "linux-vdso.so.1"}
    exported = subprocess.run(
        ["nm", "-D", "--defined-only", f"{library}/libscale.so"], capture_output=True, text=True
    )
    assert "pool" not in exported.stdout
    with open(f"{library}/caller.c", "w") as file:
        file.write(CALLER)
    command = ["cc", "-O1", "-Wall", "-Werror", "caller.c", "-L.", "-lscale", "-pthread"]
    subprocess.run([*command, "-o", "caller"], cwd=library, check=True)
    done = subprocess.run(
        ["./caller"], cwd=library, env={"LD_LIBRARY_PATH": "."}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "150 calls\n")


def test_unloading_ends_the_threads(library: str) -> None:
    """The object is loaded, run with threads, and taken away, again and again."""
    code = textwrap.dedent(f"""
        import ctypes, _ctypes, os
        import numpy as np
        x, y = np.arange(100, dtype="f"), np.zeros(100, "f")
        memory = np.zeros(4096, np.uint8)
        place = memory.ctypes.data + -memory.ctypes.data % 64
        pool = (ctypes.c_int64 * 3)(0, 0, 4)
        for _ in range(20):
            library = ctypes.CDLL("{library}/libscale.so")
            run = library.scale_run
            run.argtypes = [ctypes.c_int64] + [ctypes.c_void_p] * 5
            assert run(100, x.ctypes.data, y.ctypes.data, 0, place, ctypes.addressof(pool)) == 0
            assert (y == 3 * x).all()
            assert len(os.listdir("/proc/self/task")) >= 4
            _ctypes.dlclose(library._handle)
        print(len(os.listdir("/proc/self/task")))
    """)
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "1\n"


def test_stress() -> None:
    """A little of `benchmarks/thread_stress.py`; by hand, run all of it."""
    script = Path(__file__).parents[2] / "benchmarks" / "thread_stress.py"
    command = [sys.executable, str(script), "--joins", "20000", "--calls", "200", "--forks", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
