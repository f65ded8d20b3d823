"""Pictures of results: palettes, overlays and contact sheets."""

from unveil.report.contact import ContactSheet
from unveil.report.movie import Movie
from unveil.report.overlay import paint
from unveil.report.palette import davis_palette, vivid_palette

__all__ = ["ContactSheet", "Movie", "davis_palette", "paint", "vivid_palette"]
