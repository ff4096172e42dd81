from __future__ import annotations

import errno
import logging
import random
from pathlib import Path

import pytest

from scstfs.persist import durable_files, reservations
from scstfs.persist.reservations import SavedRegistrant, SavedReservations
from scstfs.persist.state import ReservationsFile, StateDirectory
from tests.support.crashing_files import CrashingFiles, PowerFailure

NOTHING = SavedReservations(aptpl=True, reservation=None, registrants=())


def state(*keys: int, held: bool = False, aptpl: bool = True) -> SavedReservations:
    """Registrations with these keys; the first holds the reservation, if any."""
    return SavedReservations(
        aptpl,
        (1, 0) if held else None,
        tuple(
            SavedRegistrant(
                bytes((6, number)) + bytes(22), 1, key.to_bytes(8, "big"), held and not number
            )
            for number, key in enumerate(keys)
        ),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "disk.1"


@pytest.fixture
def file(path: Path) -> ReservationsFile:
    return ReservationsFile(path)


# Loading and saving


def test_nothing_is_there(file: ReservationsFile) -> None:
    assert file.load() is None
    assert not file.needs_saving(NOTHING)
    assert not file.needs_saving(state(1, aptpl=False))
    assert file.needs_saving(state(1))


def test_what_is_saved_is_loaded(file: ReservationsFile, path: Path, backup: Path) -> None:
    assert file.load() is None
    file.save(state(1))
    file.save(state(1, 2, held=True))
    assert ReservationsFile(path).load() == state(1, 2, held=True)
    assert path.read_bytes() == reservations.encode(state(1, 2, held=True))
    assert backup.read_bytes() == reservations.encode(state(1))


@pytest.mark.parametrize("last", [NOTHING, state(1, aptpl=False)])
def test_what_need_not_be_kept_is_removed(
    file: ReservationsFile, path: Path, backup: Path, last: SavedReservations
) -> None:
    file.save(state(1))
    file.save(state(2))
    assert file.needs_saving(last)
    file.save(last)
    assert not path.exists()
    assert not backup.exists()
    assert not file.needs_saving(last)


def test_the_next_file_after_removal_has_no_backup(file: ReservationsFile, backup: Path) -> None:
    file.save(state(1))
    file.save(NOTHING)
    file.save(state(2))
    assert not backup.exists()


# Damage


@pytest.mark.parametrize("damage", [b"", b"\0" * 55, None], ids=["empty", "unsigned", "missing"])
@pytest.mark.logs("cannot be used .*, taking .*/disk.1$")
def test_the_backup_is_taken(
    path: Path, backup: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    backup.write_bytes(reservations.encode(state(1)))
    if damage is not None:
        path.write_bytes(damage)
    file = ReservationsFile(path)
    assert file.load() == state(1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(path) in caplog.text
    file.save(state(2))
    assert backup.read_bytes() == reservations.encode(state(1))
    assert ReservationsFile(path).load() == state(2)


@pytest.mark.parametrize(
    ("main", "other"),
    [(b"", None), (b"x" * 30, b"y" * 30), (None, b"z" * 30), (bytes(8) + b"\1" * 40, b"")],
)
@pytest.mark.logs("remove both to give up")
def test_both_damaged(
    path: Path,
    backup: Path,
    caplog: pytest.LogCaptureFixture,
    main: bytes | None,
    other: bytes | None,
) -> None:
    for place, data in ((path, main), (backup, other)):
        if data is not None:
            place.write_bytes(data)
    with pytest.raises(OSError, match="Invalid argument"):
        ReservationsFile(path).load()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{path} and {backup}" in record.message
    for place, data in ((path, main), (backup, other)):
        assert (f"{place.name}: " in record.message) is (data is not None)
    assert "remove both to give up" in record.message


@pytest.mark.logs("remove both to give up")
def test_what_can_not_be_read(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        ReservationsFile(path).load()


# Errors while saving


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CrashingFiles:
    disk = CrashingFiles(tmp_path)
    monkeypatch.setattr(durable_files, "calls", disk)
    return disk


@pytest.mark.parametrize("new", [state(2, 3, held=True), NOTHING], ids=["write", "remove"])
@pytest.mark.parametrize("number", range(1, 20))
def test_an_error_keeps_the_old_state(
    path: Path, simulated: CrashingFiles, new: SavedReservations, number: int
) -> None:
    file = ReservationsFile(path)
    file.save(state(1))
    file.save(state(1, 2))
    simulated.fail_at(number, errno.EIO)
    try:
        file.save(new)
    except OSError:
        expected: SavedReservations | None = state(1, 2)
    else:
        expected = new if new.is_kept else None
    simulated.failing = 0
    assert ReservationsFile(path).load() == expected
    # And it continues.
    file.save(state(4))
    assert ReservationsFile(path).load() == state(4)


@pytest.mark.parametrize("number", range(1, 24))
@pytest.mark.parametrize("held", [False, True], ids=["first", "again"])
def test_a_disk_that_stays_full_keeps_the_old_state(
    path: Path, simulated: CrashingFiles, number: int, held: bool
) -> None:
    """Nothing can be written from some moment on, be it to put things back."""
    file = ReservationsFile(path)
    for saved in (state(1), state(1, 2)) if held else ():
        file.save(saved)
    simulated.fills_up_at(number)
    try:
        file.save(state(3))
    except OSError:
        expected = state(1, 2) if held else None
    else:
        expected = state(3)
    assert ReservationsFile(path).load() == expected
    simulated.has_room()
    file.save(state(4))
    assert ReservationsFile(path).load() == state(4)


def test_what_could_not_be_loaded_is_not_saved(
    file: ReservationsFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(state(1))
    monkeypatch.setattr(reservations, "MAX_SIZE", 100)
    with pytest.raises(OSError, match="File too large"):
        file.save(state(*range(1, 10)))
    assert ReservationsFile(path).load() == state(1)


# Loss of power


STATES = [
    state(1),
    state(1, 2),
    state(1, 2, held=True),
    state(2),
    NOTHING,
    state(3, held=True),
    state(3, aptpl=False),
    state(*range(1, 30), held=True),
    state(7),
]
"""One after the other, as an initiator would make them."""


def kept(saved: SavedReservations | None) -> SavedReservations | None:
    return saved if saved is not None and saved.is_kept else None


def calls_of(path: Path, disk: CrashingFiles, number: int) -> int:
    """How many system calls saving state *number* after those before takes."""
    file = ReservationsFile(path)
    for saved in STATES[:number]:
        file.save(saved)
    before = len(disk.calls)
    file.save(STATES[number])
    return len(disk.calls) - before


@pytest.mark.parametrize("number", range(len(STATES)))
def test_power_fails_at_any_call(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "disk"

    def new_disk() -> CrashingFiles:
        disk = CrashingFiles(tmp_path)
        monkeypatch.setattr(durable_files, "calls", disk)
        return disk

    calls = calls_of(path, new_disk(), number)
    assert calls > 3
    before = kept(STATES[number - 1]) if number else None
    after = kept(STATES[number])
    for call in range(1, calls + 1):
        for seed in range(4):
            chance = random.Random(f"{number} {call} {seed}")
            disk = new_disk()
            file = ReservationsFile(path)
            for saved in STATES[:number]:
                file.save(saved)
            disk.power_fails_at = len(disk.calls) + call
            with pytest.raises(PowerFailure):
                file.save(STATES[number])
            disk.lose_power(chance)
            again = ReservationsFile(path)
            found = again.load()
            assert found in (before, after), (call, seed)
            # It is no worse for the next one.
            disk.power_fails_at = len(disk.calls) + chance.randint(1, 12)
            try:
                again.save(state(99))
            except PowerFailure:
                disk.lose_power(chance)
                assert ReservationsFile(path).load() in (found, state(99)), (call, seed)
            else:
                disk.power_fails_at = None
                assert ReservationsFile(path).load() == state(99)


@pytest.mark.parametrize("number", range(len(STATES)))
def test_what_is_acknowledged_survives(
    simulated: CrashingFiles, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "disk"
    file = ReservationsFile(path)
    for saved in STATES[: number + 1]:
        file.save(saved)
    for seed in range(5):
        simulated.lose_power(random.Random(seed))
        assert ReservationsFile(path).load() == kept(STATES[number])


# The state directory


def test_directories_are_made(tmp_path: Path) -> None:
    directory = StateDirectory(tmp_path / "lib" / "scst")
    assert not directory.can_save_modes
    directory.prepare()
    directory.prepare()
    assert directory.can_save_modes
    assert directory.reservations_path("disk1") == tmp_path / "lib" / "scst" / "pr" / "disk1"
    assert directory.reservations_path("disk1").parent.is_dir()


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path)
    directory.prepare()
    return directory


def test_mode_pages(directory: StateDirectory, tmp_path: Path) -> None:
    assert directory.load_modes("disk1") == ""
    directory.save_modes("disk1", "TAS=1\nSWP=1\n")
    # The last byte of a file is ignored.
    assert directory.load_modes("disk1") == "TAS=1\nSWP=1"
    places = tmp_path / "vdev_mode_pages"
    assert (places / "disk1").read_bytes() == b"disk1\nTAS=1\nSWP=1\n"
    directory.save_modes("disk1", "")
    assert not list(places.iterdir())


@pytest.mark.parametrize("text", ["SWP=1\n", ""])
def test_a_backup_that_was_left_behind(
    directory: StateDirectory, tmp_path: Path, text: str
) -> None:
    places = tmp_path / "vdev_mode_pages"
    (places / "disk1").write_bytes(bytes(12))
    (places / "disk11").write_bytes(b"disk1\nTAS=1\n")
    assert directory.load_modes("disk1") == "TAS=1"
    directory.save_modes("disk1", text)
    assert directory.load_modes("disk1") == text.strip()
    assert not (places / "disk11").exists()


def test_a_name_that_is_that_of_a_backup(directory: StateDirectory) -> None:
    directory.save_modes("disk1", "TAS=1\n")
    assert directory.load_modes("disk") == ""
    directory.save_modes("disk", "SWP=1\n")
    directory.save_modes("disk", "")
    assert directory.load_modes("disk1") == "TAS=1"


@pytest.mark.logs("cannot read .*/disk1")
def test_mode_pages_that_can_not_be_read(
    directory: StateDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "vdev_mode_pages" / "disk1").mkdir()
    assert directory.load_modes("disk1") == ""
    assert "cannot read" in caplog.text


@pytest.mark.parametrize("call", range(1, 10))
def test_mode_pages_survive(
    monkeypatch: pytest.MonkeyPatch, directory: StateDirectory, tmp_path: Path, call: int
) -> None:
    disk = CrashingFiles(tmp_path / "vdev_mode_pages")
    monkeypatch.setattr(durable_files, "calls", disk)
    directory.save_modes("disk1", "TAS=1\n")
    disk.power_fails_at = len(disk.calls) + call
    try:
        directory.save_modes("disk1", "SWP=1\n")
    except PowerFailure:
        assert call < 9
    disk.lose_power(random.Random(call))
    found = directory.load_modes("disk1")
    assert found == "SWP=1" if call == 9 else found in ("TAS=1", "SWP=1")
