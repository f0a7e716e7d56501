"""The program that reads pictures in the sandbox (``runtime/sandbox.py``): it imports Pillow alone, and nothing of ours.

Each line of standard input holds the most bytes, pixels and pixels a side, and a picture in base 64. Each line of the answer is JSON: the
picture without metadata, upright, in 8 bits, or a key of ``pictures.PROBLEMS`` with figures.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from typing import Any

from PIL import Image, ImageCms, ImageOps, MpoImagePlugin, WebPImagePlugin

PLUGINS = (MpoImagePlugin, WebPImagePlugin)
"""What Pillow does not load by itself."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "MPO")
"""MPO is what many phones write: a JPEG with others behind it, of which the first counts."""
ORIENTATION = 0x0112
KEPT = {0xC4, 0xDB, 0xDD, 0xE0, *range(0xC0, 0xC4)}
"""Segments of a JPEG that its pixels need: tables, the frame, the restart interval, and JFIF's density."""


def read(content: bytes, most_bytes: int, most_pixels: int, most_side: int) -> dict[str, Any]:
    """Return the picture, or the problem."""
    Image.MAX_IMAGE_PIXELS = None  # the bounds are ours, and are looked at before a pixel is read
    if not (content.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")) or (content[:4], content[8:12]) == (b"RIFF", b"WEBP")):
        return {"problem": "kind"}
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    if max(width, height) > most_side or width * height > most_pixels:
        return {"problem": "pixels", "width": width, "height": height}
    frames = getattr(image, "n_frames", 1)
    if image.format != "MPO" and frames > 1:
        return {"problem": "animated", "frames": frames}
    image.load()
    is_jpeg = image.format in ("JPEG", "MPO")
    upright = image.getexif().get(ORIENTATION, 1) in (0, 1)
    profile = foreign_profile(image)
    if is_jpeg and upright and profile is None and image.mode in ("RGB", "L"):
        kept = bare_jpeg(content)
        if kept and len(kept) <= most_bytes:
            return told("image/jpeg", image, kept)
    if image.format == "PNG" and image.mode in ("RGB", "L") and not image.has_transparency_data and bare_png(content):
        return told("image/png", image, content)
    image = plain(ImageOps.exif_transpose(image) or image, profile)
    written = io.BytesIO()
    if is_jpeg:
        image.save(written, "JPEG", quality=95, subsampling=0)
    else:
        image.save(written, "PNG")
    if len(written.getvalue()) > most_bytes:
        return {"problem": "heavy", "bytes": len(written.getvalue())}
    return told("image/jpeg" if is_jpeg else "image/png", image, written.getvalue())


def told(mime: str, image: Image.Image, content: bytes) -> dict[str, Any]:
    return {"mime": mime, "width": image.width, "height": image.height, "content": base64.b64encode(content).decode("ascii")}


def foreign_profile(image: Image.Image) -> Any:
    """The colour profile of a picture, where it is another than sRGB and can be read."""
    given = image.info.get("icc_profile")
    if not given or image.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(given))
        return None if "srgb" in ImageCms.getProfileDescription(profile).lower() else profile
    except (ImageCms.PyCMSError, OSError):
        return None


def plain(image: Image.Image, profile: Any) -> Image.Image:
    """Return a picture in grey or RGB of 8 bits, with white where it is transparent, as people see it on the page."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode.startswith("I") or image.mode == "F":
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")  # 16 bits
    if profile is not None and image.mode in ("RGB", "CMYK", "L"):
        try:
            change: Any = ImageCms.profileToProfile
            changed = change(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            image = changed or image
        except ImageCms.PyCMSError:
            profile = None
    image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    if alpha is not None:
        white = Image.new(image.mode, image.size, "white")
        white.paste(image, mask=alpha)
        image = white
    image.info.clear()
    return image


def bare_png(content: bytes) -> bool:
    """Whether a PNG holds pixels of 8 bits and nothing else, as one does that was stored before."""
    place, names = 8, list[bytes]()
    while place + 12 <= len(content):
        names.append(content[place + 4 : place + 8])
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return set(names) == {b"IHDR", b"IDAT", b"IEND"} and place == len(content) and content[24] == 8 and content[28] == 0


def bare_jpeg(content: bytes) -> bytes:
    """Return a JPEG with its first picture's pixels as they are compressed, and nothing else; empty for one of an unknown build."""
    out, place = bytearray(content[:2]), 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return b""
        marker = content[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == 0xD9:
            return bytes(out) + b"\xff\xd9"
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:  # a scan, which goes on to the next marker that is no restart
            start, place = place, end
            while True:
                place = content.find(b"\xff", place)
                if place < 0 or place + 1 >= len(content):
                    return b""
                if content[place + 1] == 0 or 0xD0 <= content[place + 1] <= 0xD7:
                    place += 2
                elif content[place + 1] == 0xFF:
                    place += 1
                else:
                    break
            out += content[start:place]
            continue
        if marker == 0xE0 and content[place + 4 : place + 9] == b"JFIF\0":
            out += b"\xff\xe0\x00\x10" + content[place + 4 : place + 16] + b"\0\0"  # without its thumbnail
        elif marker in KEPT and marker != 0xE0:
            out += content[place:end]
        elif marker == 0xEE and content[place + 4 : place + 9] == b"Adobe":
            return b""  # it says how the colours are to be read: written anew
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            return b""
        place = end
    return bytes(out) + b"\xff\xd9" if place + 2 <= len(content) and content[place : place + 2] == b"\xff\xd9" else b""


def main() -> None:
    """Answer line by line what standard input asks."""
    for line in sys.stdin:
        most_bytes, most_pixels, most_side, content = line.split(" ", 3)
        try:
            said = read(base64.b64decode(content), int(most_bytes), int(most_pixels), int(most_side))
        except MemoryError:
            raise
        except Exception:  # a file that is not sound fails anywhere in Pillow
            said = {"problem": "broken"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
