"""Pictures from outside: the same pixels come out of whatever they were wrapped in, and what is no good picture is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from accord.data import pictures
from accord.data.pictures import Gathered, Unreadable, in_data_url, read
from accord.errors import InputError
from accord.records import MediaFile
from accord.runtime.media_files import data_url


def drawn(width: int = 24, height: int = 16) -> Image.Image:
    """A picture whose corners differ: red, green, blue, and white."""
    image = Image.new("RGB", (width, height), "white")
    for colour, place in (("red", (0, 0)), ("lime", (width // 2, 0)), ("blue", (0, height // 2))):
        image.paste(colour, (*place, place[0] + width // 2, place[1] + height // 2))
    return image


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, format, **options)
    return written.getvalue()


def opened(file: MediaFile) -> Image.Image:
    return Image.open(io.BytesIO(file.content))


def corners(image: Image.Image) -> list[str]:
    """The colour of each quarter, by name."""
    names = {(1, 0, 0): "red", (0, 1, 0): "lime", (0, 0, 1): "blue", (1, 1, 1): "white", (0, 0, 0): "black"}
    width, height = image.size
    found = list[str]()
    for place in ((1, 1), (width - 2, 1), (1, height - 2), (width - 2, height - 2)):
        pixel: Any = image.convert("RGB").getpixel(place)
        found.append(names[tuple(round(value / 255) for value in pixel)])
    return found


UPRIGHT = ["red", "lime", "blue", "white"]


@pytest.mark.parametrize(
    ("wrapped", "mime"),
    [
        (lambda: saved(drawn(), "PNG"), "image/png"),
        (lambda: saved(drawn().convert("P"), "PNG"), "image/png"),
        (lambda: saved(drawn(), "PNG", icc_profile=b"no profile"), "image/png"),
        (lambda: saved(drawn(), "WEBP", lossless=True), "image/png"),
        (lambda: saved(drawn(), "GIF"), "image/png"),
        (lambda: saved(drawn(), "JPEG", quality=95), "image/jpeg"),
        (lambda: saved(drawn(), "JPEG", quality=95, progressive=True, comment=b"secret"), "image/jpeg"),
        (lambda: saved(drawn().convert("CMYK"), "JPEG", quality=95), "image/jpeg"),
        (lambda: saved(drawn(), "JPEG", quality=95) + b"secret behind it", "image/jpeg"),
    ],
    ids=["png", "palette", "odd profile", "webp", "gif", "jpeg", "progressive", "cmyk", "trailing"],
)
def test_every_kind_comes_out_upright_plain_and_the_same_a_second_time(wrapped: Callable[[], bytes], mime: str) -> None:
    file = read(wrapped())
    assert (file.mime, file.width, file.height) == (mime, 24, 16)
    image = opened(file)
    assert image.mode == "RGB"
    assert corners(image) == UPRIGHT
    assert b"secret" not in file.content
    assert read(file.content) == file


def test_a_good_jpeg_keeps_its_compressed_pixels() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    given = saved(drawn(), "JPEG", quality=70, exif=exif)
    file = read(given)
    assert b"taken at home" in given
    assert b"taken at home" not in file.content
    assert Image.open(io.BytesIO(given)).tobytes() == opened(file).tobytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_metadata_rotates_is_upright(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn it by a quarter to the right
    file = read(saved(drawn().transpose(Image.Transpose.ROTATE_90), format, exif=exif))
    assert (file.width, file.height) == (24, 16)
    assert corners(opened(file)) == UPRIGHT
    assert not opened(file).getexif()


def test_what_is_transparent_is_white_as_on_the_page() -> None:
    image = drawn().convert("RGBA")
    image.paste((0, 0, 0, 0), (12, 8, 24, 16))
    assert corners(opened(read(saved(image, "PNG")))) == UPRIGHT
    grey = Image.new("LA", (8, 8), (0, 0))
    assert opened(read(saved(grey, "PNG"))).getpixel((4, 4)) == 255


def test_sixteen_bits_become_eight() -> None:
    image = Image.new("I;16", (3, 1))
    for place, value in enumerate((0, 257 * 100, 65535)):
        image.putpixel((place, 0), value)
    found = opened(read(saved(image, "PNG")))
    assert found.mode == "L"
    assert [found.getpixel((place, 0)) for place in range(3)] == pytest.approx([0, 100, 255], abs=1)


def test_colours_of_another_profile_become_those_of_the_screen() -> None:
    made: Any = ImageCms
    profile = made.ImageCmsProfile(made.createProfile("LAB"))
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    assert opened(read(saved(image, "PNG", icc_profile=profile.tobytes()))).mode == "RGB"  # one that does not fit is left out


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says that it is huge."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("given", "problem", "said"),
    [
        (lambda: b"", "empty", "empty"),
        (lambda: b"%PDF-1.7 no picture", "kind", "no PNG, JPEG, WebP or GIF"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "kind", "convert it"),
        (lambda: saved(drawn(), "BMP"), "kind", "no PNG"),
        (lambda: bomb(60_000, 60_000), "pixels", r"60,000 x 60,000 pixels; at most 16,000 a side .* \(scale it down\)"),
        (lambda: bomb(15_000, 15_000), "pixels", "40 million in all"),
        (lambda: saved(drawn(), "PNG")[:-40], "broken", "damaged"),
        (lambda: saved(drawn(200, 200), "JPEG")[:900], "broken", "cut off"),
        (lambda: bomb(1000, 1000), "broken", "damaged"),
        (lambda: bytes(pictures.MOST_BYTES + 1), "large", "more than 20 MB"),
        (
            lambda: saved(drawn(), "GIF", save_all=True, append_images=[Image.new("RGB", (24, 16), "black")]),
            "animated",
            "animated, with 2 pictures",
        ),
    ],
    ids=["empty", "pdf", "svg", "bmp", "60000", "40 million", "short png", "short jpeg", "false size", "20 MB", "animated"],
)
def test_what_is_no_good_picture_is_refused_by_name(given: Callable[[], bytes], problem: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said) as refused:
        read(given(), "rows.jsonl:3")
    assert refused.value.problem == problem
    assert refused.value.where == "rows.jsonl:3"
    assert read(saved(drawn(), "PNG")).width == 24, "the next one is read"


def test_data_urls() -> None:
    file = read(saved(drawn(), "PNG"))
    assert in_data_url(data_url(file)) == file.content
    assert in_data_url("data:;base64,aGk=") == b"hi"
    for url, said in (
        ("https://example.org/a.png", "not a data URL"),
        ("data:image/png,abc", "not a data URL"),
        ("data:;base64,?", "no base 64"),
    ):
        with pytest.raises(InputError, match=said):
            in_data_url(url)


def test_a_picture_is_gathered_once(tmp_path: Path) -> None:
    gathered = Gathered(tmp_path / "media")
    content = saved(drawn(), "PNG", pnginfo=None)
    one, two = gathered.take(content, "row 1", "quarters"), gathered.take(content, "row 2")
    assert (one.digest, one.alt, two.alt) == (two.digest, "quarters", "")
    assert gathered.file(one.digest) == read(content)
    assert gathered.file("0" * 64) is None
    assert len(list((tmp_path / "media").iterdir())) == 1
