"""Whom we trust, and what is wrong with a certificate, in words."""

import ssl

import clock


class NoAuthority(ValueError):
    """There is nothing to check the broker's certificate with."""


def context(path):
    """One that takes a server only with a certificate by the authority whose own is in the file (DER), and with the name that was asked for.
    Raises NoAuthority. One context is used for all connections."""
    try:
        with open(path, "rb") as file:
            authority = file.read(8192)
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.verify_mode = ssl.CERT_REQUIRED
        found.load_verify_locations(cadata=authority)
        return found
    except (OSError, ValueError) as error:
        why = "cannot read the authority's certificate %s (%s): write it to the board in DER form" % (path, error)
        raise NoAuthority(why) from None


_EARLY = "the broker's certificate is not valid yet by this board's clock, which says {clock}; with ntp in its settings it asks a time server"
#: What Mbed TLS says, or OpenSSL, and what we say.
_WORDS = (
    ("starts in the future", _EARLY),
    ("not yet valid", _EARLY),
    ("has expired", "the broker's certificate has expired by this board's clock, which says {clock}"),
    ("does not match", "the broker's certificate is for another name than {host}"),
    ("is not valid for", "the broker's certificate is for another name than {host}"),
    ("not correctly signed", "the broker's certificate is not by the authority that this board trusts"),
    ("self-signed", "the broker's certificate is not by the authority that this board trusts"),
    ("unable to get local issuer", "the broker's certificate is not by the authority that this board trusts"),
)


def problem(error, host):
    """What is wrong, None for an error that is not about certificates. Of several things all are said."""
    text = str(error)
    found = []
    for each, words in _WORDS:
        said = words.format(host=host, clock=clock.said())
        if each in text and said not in found:
            found.append(said)
    return "; ".join(found) or None
