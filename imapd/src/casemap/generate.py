#!/usr/bin/env python3
"""Writes table.rs from Python's copy of the Unicode character database:  ./generate.py > table.rs

For each character that has no capital letter of its own: its full decomposition (canonical and compatibility), in capitals
where they are single characters. Hangul syllables are computed instead.
"""
import unicodedata


def capital(c):
    upper = c.upper()
    return upper if len(upper) == 1 else c


entries, text = [], b""
for code in range(0x80, 0x110000):
    if 0xAC00 <= code <= 0xD7A3 or 0xD800 <= code <= 0xDFFF:
        continue
    char = chr(code)
    if capital(char) != char:
        continue
    folded = "".join(map(capital, unicodedata.normalize("NFKD", char)))
    if folded == char:
        continue
    if len(folded) == 1 and ord(folded) < 0x10000:
        target = ord(folded)
        if entries and entries[-1][1]:
            start, run, first = entries[-1]
            if start + run == code and first + run == target and run < 2047:
                entries[-1][1] += 1
                continue
        entries.append([code, 1, target])
    else:
        entries.append([code, 0, len(text)])
        octets = folded.encode()
        text += bytes([len(octets)]) + octets
assert len(text) < 0x10000


def rows(numbers, width, each):
    for at in range(0, len(numbers), each):
        print("    " + " ".join(f"0x{n:0{width}x}," for n in numbers[at : at + each]))


print(f"//! Decompositions of Unicode {unicodedata.unidata_version}, written by generate.py. Not to be edited.\n")
print("/// The first character of each entry, ascending, in the low 21 bits; above them how many characters in a row map to")
print("/// as many in a row, or 0 where one character becomes several.")
print("#[rustfmt::skip]")
print(f"pub static KEYS: [u32; {len(entries)}] = [")
rows([start | run << 21 for start, run, _ in entries], 8, 9)
print("];\n")
print("/// For each entry the first character it maps to, or where in [`TEXTS`] the characters are.")
print("#[rustfmt::skip]")
print(f"pub static VALUES: [u16; {len(entries)}] = [")
rows([value for _, _, value in entries], 4, 15)
print("];\n")
print("/// Texts in UTF-8, each behind an octet that says how many octets it has.")
print("#[rustfmt::skip]")
print(f"pub static TEXTS: [u8; {len(text)}] = [")
rows(list(text), 2, 21)
print("];")
