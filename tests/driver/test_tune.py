"""Tuning runs end to end; what it keeps is obeyed where it fits, and changes no result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import stepwell as sw
from stepwell.artefact import cache_key
from stepwell.compilation import Compilation, Options
from stepwell.ir.loop.core import Kernel
from stepwell.ir.target import host
from stepwell.lowering.knobs import as_fields, offers
from stepwell.lowering.schedule import Schedule, schedule_kernel
from stepwell.lowering.tuning import kernel_key, read_records, target_key
from stepwell.source import as_source

from .conftest import Run

SOURCE = "model product(x: f32[N, 24], w: f32[24, 40]) -> f32[N, 40] { relu(x @ w) }\n"


@pytest.fixture
def product(tmp_path: Path) -> Path:
    (tmp_path / "product.well").write_text(SOURCE)
    return tmp_path / "product.well"


def _kernel(source: str = SOURCE) -> Kernel:
    (kernel,) = Compilation(as_source(source)).naive_program.kernels
    return kernel


def _record(fields: dict[str, int]) -> str:
    knobs = {"tile": fields}
    record = {"target": target_key(host()), "kernel": kernel_key(_kernel()), "knobs": knobs}
    return json.dumps(record) + "\n"


def test_tune_keeps_what_it_finds(run: Run, product: Path) -> None:
    done = run("tune", product, "--size", "N=30", "--budget", "1.5", "--tuning", "t.jsonl")
    assert done.code == 0, done.err
    assert "of 1 kernels with a choice are faster now" in done.out
    assert "matmul_relu" in done.out
    found = json.loads(run("tune", product, "--size", "N=30", "--budget", "1", "--json").out)
    assert [item["name"] for item in found] == ["matmul_relu"]
    assert found[0]["best"] <= found[0]["analytic"]
    assert found[0]["kernel"] == kernel_key(_kernel())


def test_a_database_overrules_the_analytic_choice(tmp_path: Path) -> None:
    (offer,) = offers(lambda: schedule_kernel(_kernel(), host()))
    other = next(c for c in offer.candidates if c.rows == 3 and c.vectors == 1)
    (tmp_path / "t.jsonl").write_text(
        _record(as_fields(offer.analytic)) + _record(as_fields(other))
    )
    database = str(tmp_path / "t.jsonl")
    assert read_records(database, host())[kernel_key(_kernel())]["tile"]["rows"] == 3

    program = Compilation(as_source(SOURCE)).naive_program
    analytic, tuned = Schedule().run(program), Schedule(database=database).run(program)
    assert analytic != tuned
    x, w = np.ones((7, 24), np.float32), np.ones((24, 40), np.float32)
    model = sw.compile(SOURCE, tuning=database)
    assert "0..3 unrolled" in str(model.stage("loops-opt"))
    np.testing.assert_array_equal(model(x, w), sw.compile(SOURCE)(x, w))


def test_a_record_that_fits_nothing_is_ignored(tmp_path: Path) -> None:
    program = Compilation(as_source(SOURCE)).naive_program
    for number, fields in enumerate(({"rows": 1000}, {"rows": 0}, {})):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(_record(fields))
        assert Schedule(database=str(path)).run(program) == Schedule().run(program)


def test_kernels_are_known_by_what_they_do() -> None:
    renamed = "\n\n" + SOURCE.replace("x", "y").replace("N", "M").replace("product", "other")
    assert kernel_key(_kernel()) == kernel_key(_kernel(renamed))
    assert kernel_key(_kernel()) != kernel_key(_kernel(SOURCE.replace("40", "41")))


def test_the_database_is_part_of_the_key(tmp_path: Path) -> None:
    def key(tuning: str | None) -> str:
        return cache_key(Compilation(as_source(SOURCE), Options(tuning=tuning)))

    path = tmp_path / "t.jsonl"
    path.write_text("")
    assert key(str(path)) != key(None) or read_records(path, host()) == {}
    empty = key(str(path))
    path.write_text(_record({"rows": 3}))
    assert key(str(path)) != empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "product.well"], "say how large `N` shall be, with --size N=16"),
        (["tune", "product.well", "--budget", "0"], "write seconds"),
        (["tune", "product.well", "--budget", "nan"], "write seconds"),
        (["tune", "product.well", "--threads", "x"], "write numbers from 1"),
        (["tune", "none.well"], "no file none.well"),
        (["emit", "product.well", "--stage", "asm", "--tuning", "no.jsonl"], "no file no.jsonl"),
        (["emit", "product.well", "--stage", "asm", "--tuning", "product.well"],
         "product.well:1: no record of a tuned kernel"),
    ],
)  # fmt: skip
def test_tune_refuses(run: Run, product: Path, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert message in done.err
