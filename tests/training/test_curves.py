import csv

from covidctnet.training.curves import write_curve


def log(folder, run, text):
    path = folder / "log" / f"run{run}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def told(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_resumed_run_takes_over_where_it_began(tmp_path):
    log(tmp_path, 2, "epoch,step,train_loss,val_loss\n1,20,0.2,\n1,29,,0.15\n")
    log(tmp_path, 1, "epoch,step,train_loss\n0,0,0.9\n0,10,0.5\n1,20,0.4\n1,30,0.3\n")
    write_curve(tmp_path, tmp_path / "curves", "denoiser")
    rows = told(tmp_path / "curves" / "denoiser.csv")
    assert [(r["step"], r["train_loss"], r["val_loss"]) for r in rows] == [
        ("0", "0.9", ""),
        ("10", "0.5", ""),
        ("20", "0.2", ""),
        ("29", "", "0.15"),
    ]


def test_the_tenth_run_comes_behind_the_ninth(tmp_path):
    for run in (10, 9):
        log(tmp_path, run, f"epoch,step,train_loss\n0,{run},0.{run}\n")
    write_curve(tmp_path, tmp_path / "curves", "lungs")
    assert [r["step"] for r in told(tmp_path / "curves" / "lungs.csv")] == ["9", "10"]


def test_nothing_logged_is_nothing_written(tmp_path):
    log(tmp_path, 1, "")
    write_curve(tmp_path, tmp_path / "curves", "denoiser")
    assert not (tmp_path / "curves").exists()


def test_a_line_that_a_killed_run_did_not_end_is_left_out(tmp_path):
    log(tmp_path, 1, "epoch,step,train_loss\n0,10,0.5\n0,20,0.4\n0,2")
    write_curve(tmp_path, tmp_path / "curves", "denoiser")
    assert [r["step"] for r in told(tmp_path / "curves" / "denoiser.csv")] == ["10", "20"]
