"""PDFs to read: set by matplotlib, and written out by hand where one has to be odd."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

MILL = (
    "The mill stands by the river. It was built in 1782 by Ada Baker, who had come\n"
    "from the north with her brothers. The wheel is made of oak that was seas-\n"
    "oned for nine years.",
    "Bread is baked at six. The office opens at nine.",
)


def printed(pages: Sequence[str]) -> bytes:
    """Return a PDF with a text on each page; an empty one is a page with a picture alone."""
    out = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}), PdfPages(out) as pdf:
        for text in pages:
            figure = Figure(figsize=(8, 11))
            if text:
                figure.text(0.1, 0.9, text, va="top", fontsize=9)
            else:
                figure.add_axes((0.1, 0.1, 0.5, 0.5), frameon=False, xticks=[], yticks=[]).imshow([[0, 1], [1, 0]])
            pdf.savefig(figure)
    return out.getvalue()


def drawn(stream: bytes) -> bytes:
    """Return a PDF of one page with a stream of drawing commands, packed."""
    packed = zlib.compress(stream, 9)
    resources = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R " + resources + b" >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(packed), packed),
    ]
    out, places = b"%PDF-1.4\n", list[int]()
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(out)
    return out + b"xref\n0 5\n" + table + end


def slow() -> bytes:
    """Return a file of some kilobytes that takes minutes to read."""
    return drawn(b"BT /F1 12 Tf () Tj ET\n" * 3_000_000)
