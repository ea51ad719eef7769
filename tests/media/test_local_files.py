"""Files that conversations name: none by default, those of one directory if a caller opens it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

import isc
from golden_conversations import assistant
from image_files import PNG, QWEN3_VL, part
from isc.cli import Exit, main
from isc.media import ImageProcessor, Limits
from tokenizer_files import byte_level, text_of, with_added_tokens

SECRET = b"root:x:0:0:SECRET-OF-THIS-MACHINE"


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A directory that is opened to conversations, with a picture, and much that is none of their business."""
    inside, outside = tmp_path / "images", tmp_path / "outside"
    (inside / "deep").mkdir(parents=True)
    outside.mkdir()
    for place in (inside / "cat.png", inside / "deep" / "a cat.png", outside / "cat.png"):
        place.write_bytes(PNG)
    (inside / "within").symlink_to("deep")
    (inside / "out").symlink_to(outside)
    (inside / "out.png").symlink_to(outside / "cat.png")
    (inside / "loop").symlink_to("loop")
    (inside / "secret.png").write_bytes(SECRET)
    (inside / "large.png").write_bytes(PNG + bytes(100_000))
    (inside / "chunk.png").write_bytes(PNG[:33] + b"\0\0\0\4" + SECRET)
    os.mkfifo(inside / "pipe.png")
    return inside


REACHED = (
    "cat.png",
    "./cat.png",
    "deep/a cat.png",
    "deep/../cat.png",
    "within/a cat.png",
    "{}/cat.png",
    "file://{}/cat.png",
)
OUT_OF_REACH = (
    *("../outside/cat.png", "{}/../outside/cat.png", "out/cat.png", "out.png", "file://{}/../outside/cat.png"),
    *(
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/self/root/etc/passwd",
        "file:///etc/passwd",
        "/dev/zero",
        "/dev/stdin",
    ),
    *("~/cat.png", "~nobody-of-that-name/cat.png", "~root/cat.png", "http://127.0.0.1/cat.png", "https:cat.png"),
    *(
        "file://host{}/cat.png",
        "file://localhost{}/cat.png",
        "file://[::1{}/cat.png",
        "//host{}/cat.png?",
        "file:cat.png",
    ),
    *(
        "http://[::1",
        "http://[v1.]/",
        "file://{}/cat.png?x",
        "file://{}/cat.png#x",
        "file:///%ff%fe",
        "ftp://{}/cat.png",
    ),
    *(
        "missing.png",
        "",
        ".",
        "deep",
        "loop",
        "loop/cat.png",
        "pipe.png",
        "cat.png/x",
        "a\0b",
        "x" * 100_000,
    ),
    *("secret.png", "large.png", "chunk.png", "\n", "data:", "data:image/png;base64"),
)


def problem(processor: ImageProcessor, reference: str, key: str = "image") -> str:
    """What is said of a reference, without the reference."""
    with pytest.raises(isc.MediaError) as error:
        processor.measured(part(reference, key))
    assert b"SECRET" not in str(error.value).encode()
    assert "SECRET" not in repr(error.value.value)
    assert error.value.__cause__ is None
    return error.value.problem


@pytest.mark.parametrize("reference", [*REACHED, *OUT_OF_REACH])
def test_by_default_no_text_opens_a_file(opened: Path, reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(opened)
    monkeypatch.setenv("HOME", str(opened))
    processor = ImageProcessor.from_config(QWEN3_VL)
    told = {problem(processor, reference.format(opened), key) for key in ("image", "url", "path")}
    told.add(problem(processor, "other", "image_url"))
    assert len(told) == 1
    assert "a text opens no file and no address" in told.pop()


@pytest.mark.parametrize("reference", REACHED)
def test_files_of_a_directory_that_is_opened_are_read(opened: Path, reference: str) -> None:
    processor = ImageProcessor.from_config(QWEN3_VL, local_files=opened)
    measured = processor.measured(part(reference.format(opened)))
    assert (measured.width, measured.height, measured.reference) == (64, 48, reference.format(opened))
    assert processor.measured(part(PNG)).hash == measured.hash


def test_whatever_else_is_named_is_refused_in_the_same_words(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(opened)
    monkeypatch.setenv("HOME", str(opened))
    processor = ImageProcessor.from_config(QWEN3_VL, local_files=opened)
    processor = ImageProcessor(processor.settings, limits=Limits(file_bytes=50_000), local_files=opened)
    told = {problem(processor, reference.format(opened)) for reference in OUT_OF_REACH}
    assert len(told) == 1
    assert "inside local_files (--images-from)" in told.pop()


def test_a_file_is_read_up_to_the_bound_whatever_its_size_is_said_to_be(
    opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.fstat

    def lying(descriptor: int) -> os.stat_result:
        told = list(stat(descriptor))
        told[6] = 0  # as the files of /proc say
        return os.stat_result(told)

    monkeypatch.setattr(os, "fstat", lying)
    processor = ImageProcessor.from_config(QWEN3_VL, local_files=opened)
    assert processor.measured(part("cat.png")).width == 64
    small = ImageProcessor(processor.settings, limits=Limits(file_bytes=len(PNG)), local_files=opened)
    assert small.measured(part("cat.png")).width == 64
    assert "cannot be read" in problem(small, "large.png")


def test_a_directory_that_becomes_a_link_while_it_is_read_leads_nowhere(
    opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = Path.resolve

    def swapped(path: Path, strict: bool = False) -> Path:
        found = resolve(path, strict)
        if strict and (opened / "deep").is_dir() and not (opened / "deep").is_symlink():
            (opened / "deep").rename(opened / "moved")
            (opened / "deep").symlink_to(opened.parent / "outside")
            (opened.parent / "outside" / "a cat.png").write_bytes(PNG)
        return found

    processor = ImageProcessor.from_config(QWEN3_VL, local_files=opened)
    monkeypatch.setattr(Path, "resolve", swapped)
    assert "cannot be read" in problem(processor, "deep/a cat.png")
    assert (opened / "deep" / "a cat.png").read_bytes() == PNG


def test_a_pipe_does_not_hang(opened: Path) -> None:
    processor = ImageProcessor.from_config(QWEN3_VL, local_files=opened)
    ended = threading.Event()

    def read() -> None:
        problem(processor, "pipe.png")
        with pytest.raises(isc.MediaError):
            processor.measured(part(opened / "pipe.png"))
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert ended.wait(20)


def test_the_directory_must_exist_and_stays_where_it_was(opened: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(isc.OptionError, match=r"local_files .* must be a directory"):
        ImageProcessor.from_config(QWEN3_VL, local_files=opened / "cat.png")
    monkeypatch.chdir(opened.parent)
    processor = ImageProcessor.from_config(QWEN3_VL, local_files="images")
    monkeypatch.chdir("/")
    assert processor.measured(part("cat.png")).width == 64


def test_a_function_that_gives_a_text_back_opens_no_file(opened: Path) -> None:
    processor = ImageProcessor.from_config(QWEN3_VL, resolve_media=lambda reference: reference)
    assert "a text opens no file" in problem(processor, str(opened / "cat.png"))
    given = ImageProcessor.from_config(QWEN3_VL, resolve_media=lambda _: "cat.png", local_files=opened)
    assert given.measured(part("https://example.org/cat.png")).reference == "https://example.org/cat.png"


def test_what_a_caller_s_own_file_holds_is_in_no_error(opened: Path) -> None:
    processor = ImageProcessor.from_config(QWEN3_VL)
    for name in ("secret.png", "chunk.png"):
        with pytest.raises(isc.MediaError) as error:
            processor.measured(part(opened / name))
        assert "SECRET" not in str(error.value)
        assert "root" not in str(error.value)


_ODD: list[object] = [0, -1, 10**400, 1.5, float("nan"), float("inf"), "640", True, None, [], 1 << 31]
SIZES: list[tuple[object, object]] = [
    *[(size, 480) for size in _ODD],
    *[(640, size) for size in _ODD],
]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_sizes_that_no_image_has_are_typed_errors(width: object, height: object) -> None:
    processor = ImageProcessor.from_config(QWEN3_VL)
    renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3VL().specials), isc.Qwen3VL(), images=processor)
    record = isc.MediaPart("image", {}, hash="9f86", width=width, height=height)  # type: ignore[arg-type]
    told = {"type": "image", "hash": "9f86", "width": width, "height": height}
    for content in (record, told):
        with pytest.raises(isc.ConversationError) as error:
            renderer.render([{"role": "user", "content": [content]}])
        assert error.value.path.startswith("messages[0].content[0]")


def test_a_hash_told_with_another_size_does_not_get_the_arrays_of_the_real_one() -> None:
    pytest.importorskip("numpy")
    processor = ImageProcessor.from_config(QWEN3_VL)
    real = processor.measured(part(PNG))
    processor.arrays(real)
    claimed = processor.measured(isc.MediaPart("image", {"image": PNG}, hash=real.hash, width=640, height=480))
    with pytest.raises(isc.MediaError, match="has 300 placeholders, but the processor made 70 of it"):
        processor.arrays(claimed)


def test_rejects_and_rows_hold_nothing_of_this_machine(opened: Path, tmp_path: Path) -> None:
    vision_model = tmp_path / "model"
    vision_model.mkdir()
    (vision_model / "tokenizer.json").write_text(text_of(with_added_tokens(byte_level(), isc.Qwen3VL().specials)))
    (vision_model / "preprocessor_config.json").write_text(json.dumps(QWEN3_VL))
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    references = ["cat.png", "secret.png", "/proc/self/environ", "out.png"]
    conversations = [
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": name}}]}, assistant("?")]
        for name in references
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in conversations))
    options = ["--family", "qwen3-vl", "--model", str(vision_model), "--loss", "assistant"]
    assert main(["build", str(source), "-o", str(target), *options]) == Exit.FAILED
    rejects = tmp_path / "out.rejects.jsonl"
    assert len(rejects.read_text().splitlines()) == 4
    rejects.unlink()
    assert main(["build", str(source), "-o", str(target), *options, "--images-from", str(opened)]) == Exit.REJECTED
    assert len(target.read_text().splitlines()) == 1
    reasons = [json.loads(line)["reason"] for line in rejects.read_text().splitlines()]
    assert len({reason.rpartition(" (got ")[0] for reason in reasons}) == 1
    assert "SECRET" not in rejects.read_text()


def test_a_directory_for_a_model_without_images_is_refused(
    opened: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = tmp_path / "x.json"
    conversation.write_text(json.dumps([{"role": "user", "content": "?"}]))
    assert main(["show", str(conversation), "--family", "qwen3", "--images-from", str(opened)]) == Exit.FAILED
    assert "no images are read here" in capsys.readouterr().err
