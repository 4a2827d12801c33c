"""Tuning runs end to end; what it keeps is obeyed where it fits, and changes no result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepwell as sw
from stepwell.artefact import cache_key
from stepwell.compilation import Compilation, Options
from stepwell.ir.loop.core import Kernel
from stepwell.ir.target import host, named
from stepwell.lowering.knobs import KNOBS, as_fields, offers
from stepwell.lowering.schedule import Schedule, schedule_kernel
from stepwell.lowering.tuning import Database, kernel_key, target_key
from stepwell.source import as_source
from stepwell.tuning.climb import Climb
from stepwell.tuning.database import keep
from stepwell.tuning.tuner import ratio

from .conftest import Run

SOURCE = "model product(x: f32[N, 24], w: f32[24, 40]) -> f32[N, 40] { relu(x @ w) }\n"


@pytest.fixture
def product(tmp_path: Path) -> Path:
    (tmp_path / "product.well").write_text(SOURCE)
    return tmp_path / "product.well"


def _kernel(source: str = SOURCE) -> Kernel:
    (kernel,) = Compilation(as_source(source)).naive_program.kernels
    return kernel


def _record(knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"target": target_key(host()), "kernel": kernel_key(_kernel()), "knobs": knobs, **more}


def _written(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def _other_tile() -> dict[str, Any]:
    found = offers(lambda: schedule_kernel(_kernel(), host()))
    (offer,) = (each for each in found if each.name == "tile")
    other = next(c for c in offer.candidates if c.rows == 3 and c.vectors == 1)
    return {"tile": as_fields(other)}


# ---------------------------------------------------------------------- the command


def test_tune_keeps_what_it_finds(run: Run, product: Path) -> None:
    arguments = ("tune", product, "--size", "N=30", "--tuning", "t.jsonl", "--threads", "1")
    done = run(*arguments, "--budget", "1.5")
    assert done.code == 0, done.err
    assert "of 1 kernels are faster now" in done.out
    assert "matmul_relu" in done.out
    done = run(*arguments, "--budget", "0.1", "--json")
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)
    assert found["name"] == "matmul_relu"
    assert found["kernel"] == kernel_key(_kernel())
    default, best = found["seconds"]["1"]
    assert 0 < best <= default if found["knobs"] else found["gain"] == 1


def test_tune_begins_with_what_is_known_and_keeps_it_no_longer_where_it_is_slow(
    run: Run, product: Path, tmp_path: Path
) -> None:
    slow = {"tile": {**_other_tile()["tile"], "rows": 1}}
    _written(tmp_path / "t.jsonl", _record(slow, gain=9.0), {**_record({}), "target": "other"})
    arguments = ("tune", product, "--size", "N=64", "--tuning", "t.jsonl", "--threads", "1")
    (found,) = json.loads(run(*arguments, "--budget", "0.001", "--json").out)
    assert found["knobs"] == {}
    left = Database.read(tmp_path / "t.jsonl").records
    assert [record["target"] for record in left] == ["other"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "product.well"], "say how large `N` shall be, with --size N=16"),
        (["tune", "product.well", "--budget", "0"], "write seconds"),
        (["tune", "product.well", "--budget", "nan"], "write seconds"),
        (["tune", "product.well", "--threads", "x"], "write numbers from 1"),
        (["tune", "none.well"], "no file none.well"),
        (["tune", "product.well", "--size", "N=1", "--tuning", "product.well"],
         "product.well:1: no record of a tuned kernel"),
        (["emit", "product.well", "--stage", "asm", "--tuning", "no.jsonl"], "no file no.jsonl"),
        (["emit", "product.well", "--stage", "asm", "--tuning", "product.well"],
         "product.well:1: no record of a tuned kernel"),
    ],
)  # fmt: skip
def test_tune_refuses(run: Run, product: Path, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
    assert product.read_text() == SOURCE


# ---------------------------------------------------------------------- the search


def test_a_climb_takes_what_is_faster_and_goes_on_from_there() -> None:
    machine = named("x86-64-v4")  # of more than one width of vectors
    climb = Climb(_kernel(), lambda kernel: schedule_kernel(kernel, machine), {})
    first = climb.propose()
    assert first is not None
    climb.told(0.5)
    assert (climb.best, climb.ratio) == (first, 0.5)
    proposals = []
    while (fields := climb.propose()) is not None:
        proposals.append(fields)
        climb.told(0.499)  # no more than noise
    assert climb.best == first
    assert all(sum(fields.get(k) != first.get(k) for k in {*fields, *first}) == 1
               for fields in proposals)  # fmt: skip
    assert len(proposals) == len({json.dumps(fields) for fields in proposals})
    assert {"tile", "vector_bits"} <= {name for fields in proposals for name in fields}


def test_what_can_not_be_scheduled_is_refused() -> None:
    default = schedule_kernel(_kernel(), host())

    def schedule(kernel: Kernel) -> Kernel:
        made = schedule_kernel(kernel, host())
        if made != default:
            raise sw.InputError("no schedule")
        return made

    climb = Climb(_kernel(), schedule, _other_tile())
    assert climb.propose() is None
    assert climb.refused > 10
    assert climb.best == {}


def test_a_choice_may_not_be_slower_on_any_number_of_threads() -> None:
    assert ratio({1: (1.0, 0.81), 2: (1.0, 1.0)}) == pytest.approx(0.9)
    assert ratio({1: (1.0, 0.5), 2: (1.0, 1.1)}) == float("inf")


# ---------------------------------------------------------------------- the database


def test_a_database_overrules_the_analytic_choice(tmp_path: Path) -> None:
    database = _written(tmp_path / "t.jsonl", _record(_other_tile()))
    program = Compilation(as_source(SOURCE)).naive_program
    assert Schedule().run(program) != Schedule(database=database).run(program)
    x, w = np.ones((7, 24), np.float32), np.ones((24, 40), np.float32)
    model = sw.compile(SOURCE, tuning=database)
    assert "0..3 unrolled" in str(model.stage("loops-opt"))
    np.testing.assert_array_equal(model(x, w), sw.compile(SOURCE)(x, w))


def test_of_joined_databases_the_best_line_counts(tmp_path: Path) -> None:
    lines = [
        _record({"vector_bits": 128}, gain=1.1), _record({"vector_bits": 256}, gain=1.3),
        _record({"vector_bits": 512}, gain=1.2),
        {**_record({"vector_bits": 64}, gain=9.0), "target": "another"},
    ]  # fmt: skip
    database = Database.read(_written(tmp_path / "t.jsonl", *lines))
    assert database.best(host()) == {kernel_key(_kernel()): {"vector_bits": 256}}


def test_what_is_kept_replaces_what_was_and_leaves_the_rest(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "t.jsonl")
    other = {**_record({"ahead": 0}), "target": "another"}
    keep(path, [_record({"ahead": 64}), other])
    keep(path, [_record({"ahead": 128})])
    assert Database.read(path).records == (other, _record({"ahead": 128}))
    keep(path, [_record({})])
    assert Database.read(path).records == (other,)
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["t.jsonl"]


def test_damaged_lines_are_warned_of_and_passed_over(run: Run, tmp_path: Path) -> None:
    record = json.dumps(_record(_other_tile()))
    lines = [record[:40], record, "[]", '{"target": 1}', b"\xff\x00".decode("latin-1")]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="latin-1")
    (tmp_path / "product.well").write_text(SOURCE)
    done = run("emit", "product.well", "--stage", "loops-opt", "--tuning", "t.jsonl")
    assert done.code == 0, done.err
    assert "t.jsonl:1: no record of a tuned kernel, nor are 3 more lines" in done.err
    assert "0..3 unrolled" in done.out


def test_a_record_that_fits_nothing_is_ignored(tmp_path: Path) -> None:
    program = Compilation(as_source(SOURCE)).naive_program
    for number, value in enumerate(({"rows": 1000}, {"rows": 0}, {}, 7, "x", None, [1])):
        path = _written(tmp_path / f"{number}.jsonl", _record({"tile": value, "nothing": value}))
        assert Schedule(database=path).run(program) == Schedule().run(program)


def test_kernels_are_known_by_what_they_do() -> None:
    renamed = "\n\n" + SOURCE.replace("x", "y").replace("N", "M").replace("product", "other")
    assert kernel_key(_kernel()) == kernel_key(_kernel(renamed))
    assert kernel_key(_kernel()) != kernel_key(_kernel(SOURCE.replace("40", "41")))


def test_the_database_is_part_of_the_key(tmp_path: Path) -> None:
    def key(tuning: str | None) -> str:
        return cache_key(Compilation(as_source(SOURCE), Options(tuning=tuning)))

    empty = key(_written(tmp_path / "t.jsonl"))
    assert key(_written(tmp_path / "t.jsonl", _record({"ahead": 3}))) != empty


def test_every_knob_has_its_line_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert all(f"| `{name}` | {meaning} |" in text for name, meaning in KNOBS.items())
