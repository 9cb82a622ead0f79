"""Find values in the XML of image files, whatever its namespaces are."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET


def parse_xml(text: str | bytes) -> ET.Element | None:
    """Return the root element of an XML text; None if it is not valid XML."""
    try:
        stripped = (
            text.strip("\0 \r\n\t\ufeff") if isinstance(text, str) else text.strip(b"\0 \r\n\t")
        )
        return ET.fromstring(stripped)  # noqa: S314 - expat 2.4.1 refuses entity bombs
    except (ET.ParseError, ValueError, LookupError):
        return None


def local_name(element: ET.Element) -> str:
    """Return the name of an XML element without its namespace."""
    return element.tag.rsplit("}", 1)[-1]


def children(element: ET.Element, name: str) -> list[ET.Element]:
    """Return the list of direct children of an element that have a local name."""
    return [child for child in element if local_name(child) == name]


def descendants(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Yield the element and all elements below it that have a local name."""
    return (found for found in element.iter() if local_name(found) == name)


def texts(root: ET.Element, *path: str) -> list[str]:
    """Return the distinct texts of the elements at a path, such as ``("Objective", "NA")``.

    The first name may be at any depth; each further name is a direct child of the one before. The
    last name may be an attribute instead of an element.
    """
    elements = list(descendants(root, path[0]))
    for name in path[1:-1]:
        elements = [child for element in elements for child in children(element, name)]
    if len(path) == 1:
        found = [element.text for element in elements]
    else:
        found = [element.get(path[-1]) for element in elements]
        found += [child.text for element in elements for child in children(element, path[-1])]
    return list(dict.fromkeys(text.strip() for text in found if text and text.strip()))


def only_text(root: ET.Element, *path: str) -> str | None:
    """Return the text at a path below an element; None for no text or several different texts."""
    found = texts(root, *path)
    return found[0] if len(found) == 1 else None
