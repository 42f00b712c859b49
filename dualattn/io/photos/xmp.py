"""XMP packets: properties are added to a packet without a change to what stands in it; nothing is parsed as XML."""

import re
from collections.abc import Mapping

NAMESPACES = {
    'dc': 'http://purl.org/dc/elements/1.1/',
    'photoshop': 'http://ns.adobe.com/photoshop/1.0/',
    'Iptc4xmpCore': 'http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/',
    'Iptc4xmpExt': 'http://iptc.org/std/Iptc4xmpExt/2008-02-29/',
    'xmp': 'http://ns.adobe.com/xap/1.0/',
    'dualattn': 'urn:dualattn:provenance:1',
}
_END = re.compile(rb'</\s*rdf:RDF\s*>')
# XMP specification part 3, 1.1.3.1
_EXTENSION = re.compile(
    rb'\s+xmpNote:HasExtendedXMP\s*=\s*(?:"[^"]*"|\'[^\']*\')|<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>'
)
# what `add` writes, at the end of a packet
_BLOCK = re.compile(
    rb'<rdf:Description rdf:about=""(?: xmlns:\w+="[^"]*")+>(?:(?!</?rdf:Description).)*</rdf:Description>\Z', re.DOTALL
)
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'</rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
)


def without_extension(packet: bytes | None) -> bytes | None:
    """Return a packet that names no further one, as that of a JPEG does where it goes on in segments of its own."""
    return packet and _EXTENSION.sub(b'', packet)


def upright(packet: bytes | str | None) -> bytes | None:
    """Return a packet with its orientation, if it has one, set to upright; None for none."""
    packet = packet.encode() if isinstance(packet, str) else packet
    if not isinstance(packet, bytes) or not packet:
        return None
    return re.sub(rb'(tiff:Orientation(?:=["\']|>))[0-9]', rb'\g<1>1', packet)


def add(packet: bytes | None, properties: Mapping[str, str], replace: bool = False) -> bytes | None:
    """Return a packet with further properties.

    Args:
        packet: None makes a new one.
        properties: by name with a prefix of `NAMESPACES`, what stands inside the property's element, as XML.
        replace: put them in the place of those that the packet has; otherwise the packet's own stay.

    Returns:
        The packet, or None where there is nothing in it: no packet and no properties.
    """
    if packet is not None and _END.search(packet) is None:
        return packet  # none that anything can be added to
    packet = _EMPTY if packet is None and properties else packet
    if packet is None:
        return None
    for name in properties if replace else ():
        packet = _without(packet, name.encode())
    missing = {name: value for name, value in properties.items() if not _has(packet, name.encode())}
    if not missing:
        return packet
    prefixes = dict.fromkeys(name.partition(':')[0] for name in missing)
    spaces = ''.join(f' xmlns:{prefix}="{NAMESPACES[prefix]}"' for prefix in prefixes)
    inside = ''.join(f'<{name}>{value}</{name}>' for name, value in missing.items())
    block = f'<rdf:Description rdf:about=""{spaces}>{inside}</rdf:Description>'.encode()
    at = [found.start() for found in _END.finditer(packet)][-1]
    return packet[:at] + block + packet[at:]


def added(packet: bytes, limit: int) -> bytes | None:
    """Return a packet of those properties alone that `add` has put into one, the latest first, up to so many bytes."""
    kept = b''
    at = [found.start() for found in _END.finditer(packet)][-1:]
    while at and (found := _BLOCK.search(packet[: at[0]])):
        if len(_EMPTY) + len(kept) + len(found[0]) > limit:
            break
        kept = found[0] + kept
        at = [found.start()]
    place = _EMPTY.index(b'</rdf:RDF>')
    return _EMPTY[:place] + kept + _EMPTY[place:] if kept else None


def can_hold(packet: bytes | None) -> bool:
    """Tell whether properties can be added to a packet."""
    return packet is None or _END.search(packet) is not None


def _has(packet: bytes, name: bytes) -> bool:
    return re.search(rb'[\s<]' + re.escape(name) + rb'[\s=/>]', packet) is not None


def _without(packet: bytes, name: bytes) -> bytes:
    name = re.escape(name)
    packet = re.sub(rb'<' + name + rb'(?:\s[^>]*)?/>', b'', packet)
    packet = re.sub(rb'<' + name + rb'(?:\s[^>]*)?>.*?</' + name + rb'\s*>', b'', packet, flags=re.DOTALL)
    return re.sub(rb'\s' + name + rb'\s*=\s*(?:"[^"]*"|\'[^\']*\')', b'', packet)
