"""`python -m demo.contracts`: make the PDFs anew; nothing changes where the texts did not."""

from __future__ import annotations

from demo.contracts.render import NAMES, pdf_path, render, text_of


def main() -> None:
    """Write each contract's PDF beside its text."""
    for name in NAMES:
        path = pdf_path(name)
        data = render(text_of(name))
        changed = not path.exists() or path.read_bytes() != data
        path.write_bytes(data)
        print(f"{path.name}: {len(data)} bytes, {'written' if changed else 'unchanged'}")


if __name__ == "__main__":
    main()
