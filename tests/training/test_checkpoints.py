"""Checkpoints survive kills, full disks and damage."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from covidctnet.cli import main
from covidctnet.errors import StorageError, UsageError
from covidctnet.training.checkpoints import WholeFiles, checkpoint_of, read_whole
from tests.little_work import fill

ROOT = Path(__file__).parents[2]
SMALL = ["--model.base=2", "--model.depth=1", "--data.batch_size=2", "--data.validation_slices=4"]
SMALL += ["--trainer.limit_train_batches=2", "--trainer.max_epochs=3"]


def train(work, *options):
    return main(["train-denoiser", "--work", str(work), *SMALL, *options])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The work folder of a run that nothing interrupted."""
    work = fill(tmp_path_factory.mktemp("whole") / "little")
    assert train(work) == 0
    return work


def last(work):
    return torch.load(work / "denoiser" / "checkpoints" / "last.ckpt", weights_only=True)


def assert_equal(first, second):
    assert first["global_step"] == second["global_step"]
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


def state(step):
    """As Lightning gives it, in small."""
    numbers = torch.arange(5000.0) + step
    return {"state_dict": {"weight": numbers}, "global_step": step, "epoch": step // 3}


@pytest.fixture
def folder(tmp_path):
    """Of a stage whose run has saved twice."""
    files = WholeFiles()
    for step in (3, 6):
        files.save_checkpoint(state(step), tmp_path / "checkpoints" / "last.ckpt")
    return tmp_path


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut short":
        content = content[: len(content) // 2]
    elif how == "zeroed inside":
        place = len(content) // 2
        content[place : place + 512] = bytes(512)
    elif how == "one bit":
        content[len(content) // 2] ^= 1
    else:
        content = b""
    path.write_bytes(content)


DAMAGE = ["cut short", "zeroed inside", "one bit", "empty"]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before_and_the_log_says_so(
    folder, caplog, how
):
    checkpoints = folder / "checkpoints"
    damage(checkpoints / "last.ckpt", how)
    found = checkpoint_of("last", folder)
    assert Path(found).name == "previous.ckpt"
    assert read_whole(Path(found))["global_step"] == 3
    assert "damaged; training goes on from the one before, step 3 of epoch 1" in caplog.text
    assert str(folder) not in caplog.text


def test_torch_alone_reads_a_checkpoint_that_was_zeroed_inside(folder):
    """If this fails, torch checks sums, and there is less to do here."""
    path = folder / "checkpoints" / "last.ckpt"
    damage(path, "zeroed inside")
    held = torch.load(path, weights_only=True)["state_dict"]["weight"]
    assert not torch.equal(held, state(6)["state_dict"]["weight"])
    assert read_whole(path) is None


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_without_another_is_refused_in_one_line(folder, how):
    damage(folder / "checkpoints" / "last.ckpt", how)
    (folder / "checkpoints" / "previous.ckpt").unlink()
    with pytest.raises(UsageError, match=r"'last.ckpt' is no whole checkpoint"):
        checkpoint_of("last", folder)
    with pytest.raises(UsageError, match=r"'last.ckpt' is no whole checkpoint"):
        checkpoint_of(str(folder / "checkpoints" / "last.ckpt"), folder)


def test_a_damaged_checkpoint_is_never_kept_in_reserve(folder):
    checkpoints = folder / "checkpoints"
    damage(checkpoints / "last.ckpt", "zeroed inside")
    files = WholeFiles(checkpoint_of("last", folder))
    files.save_checkpoint(state(6), checkpoints / "last.ckpt")
    assert read_whole(checkpoints / "last.ckpt")["global_step"] == 6
    assert read_whole(checkpoints / "previous.ckpt")["global_step"] == 3


def test_a_run_from_the_beginning_keeps_nothing_of_another_run_in_reserve(folder):
    checkpoints = folder / "checkpoints"
    files = WholeFiles()
    files.save_checkpoint(state(1), checkpoints / "last.ckpt")
    assert not (checkpoints / "previous.ckpt").exists()
    files.save_checkpoint(state(2), checkpoints / "last.ckpt")
    assert read_whole(checkpoints / "previous.ckpt")["global_step"] == 1


class KilledError(BaseException):
    """Stands for a kill."""


def failing(real, at, error):
    calls = []

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            raise error
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_run_that_is_killed_while_it_saves_has_a_whole_checkpoint(
    folder, monkeypatch, call, at, caplog
):
    real = getattr(os, call.partition(".")[2])
    with monkeypatch.context() as patch:
        patch.setattr(call, failing(real, at, KilledError()))
        try:
            files = WholeFiles(str(folder / "checkpoints" / "last.ckpt"))
            files.save_checkpoint(state(9), folder / "checkpoints" / "last.ckpt")
        except KilledError:
            pass
    found = read_whole(Path(checkpoint_of("last", folder)))
    assert found["global_step"] in (6, 9)
    assert torch.equal(
        found["state_dict"]["weight"], state(found["global_step"])["state_dict"]["weight"]
    )


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_a_full_disk_leaves_the_last_checkpoint_and_no_part(folder, monkeypatch, call):
    full = OSError(errno.ENOSPC, "No space left on device")
    real = getattr(os, call.partition(".")[2])
    with monkeypatch.context() as patch:
        patch.setattr(call, failing(real, 1, full))
        files = WholeFiles(str(folder / "checkpoints" / "last.ckpt"))
        with pytest.raises(StorageError, match="No space left"):
            files.save_checkpoint(state(9), folder / "checkpoints" / "last.ckpt")
    assert read_whole(folder / "checkpoints" / "last.ckpt")["global_step"] == 6
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"last.ckpt", "previous.ckpt"}


def test_nothing_is_written_into_the_temporary_folder_of_the_system(folder, tmp_path, monkeypatch):
    """It may lie on another file system, or be full."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    WholeFiles().save_checkpoint(state(9), folder / "checkpoints" / "best.ckpt")
    assert read_whole(folder / "checkpoints" / "best.ckpt")["global_step"] == 9


# The program, which is killed by force in the second epoch, or when it saves at its end.
KILLED = """
import os, signal, sys
from pathlib import Path
from covidctnet.cli import main
from covidctnet.systems.covidctnet.training.tasks import DenoiserTask

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

how, *arguments = sys.argv[1:]
if how == "step":
    def in_a_step(self, *rest):
        if self.global_step == 3:
            die()
    DenoiserTask.on_before_zero_grad = in_a_step
else:
    saved, replace = [], os.replace
    def while_it_saves(source, target):
        saved.append(target)
        if len(saved) == 4:
            die()
        replace(source, target)
    os.replace = while_it_saves
sys.exit(main(arguments))
"""


@pytest.mark.parametrize("how", ["step", "save"])
def test_a_run_that_was_killed_by_force_goes_on_to_the_same_bits(whole, little_work, how):
    command = [sys.executable, "-c", KILLED, how, "train-denoiser", "--work", str(little_work)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    killed = subprocess.run(
        [*command, *SMALL],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**environment, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (little_work / "weights").exists()
    assert train(little_work, "--ckpt_path=last") == 0
    assert_equal(last(whole), last(little_work))


def test_a_damaged_best_checkpoint_makes_no_weights(little_work, capsys):
    assert train(little_work, "--trainer.max_epochs=1") == 0
    shutil.rmtree(little_work / "weights")
    damage(little_work / "denoiser" / "checkpoints" / "best.ckpt", "zeroed inside")
    again = ("--trainer.max_epochs=1", "--ckpt_path=last")
    assert train(little_work, *again) == 2
    told = capsys.readouterr().err
    assert "'best.ckpt' is damaged or gone. No weights written." in told
    assert not (little_work / "weights").exists()
    assert train(little_work, *again, "--checkpoint=last") == 0
    assert (little_work / "weights" / "card.json").is_file()


def test_a_run_goes_on_from_the_one_before_to_the_same_bits(whole, tmp_path, capsys):
    little_work = shutil.copytree(whole, tmp_path / "little")
    damage(little_work / "denoiser" / "checkpoints" / "last.ckpt", "zeroed inside")
    assert train(little_work, "--ckpt_path=last") == 0
    assert "training goes on from the one before, step 4 of epoch 1" in capsys.readouterr().err
    assert_equal(last(whole), last(little_work))
