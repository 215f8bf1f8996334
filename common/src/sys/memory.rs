//! memcpy, memmove and memcmp for musl on x86-64.
//!
//! musl copies with `rep movs`, whose begin takes longer than the whole copy of a word or a line, moves up octet by octet, and
//! compares octet by octet. What we do all day is to copy and compare words and lines. A program that has these symbols itself is
//! not given the library's. In assembly, because a compiler makes calls of memcpy of the loops that would be memcpy; for musl
//! alone, because glibc's are as good.

use core::arch::global_asm;

// tinmail_copy(to: rdi, from: rsi, octets: rdx) -> rax: to. The two may overlap: everything that may be overwritten is read
// before it is. Short copies are two, four or eight pieces that overlap, half of them counted from the end. Long ones go in the
// direction in which nothing is overwritten too early, aligned where they are written; their ends, which are not aligned, are
// read first and written last.
global_asm!(
    ".text",
    ".p2align 5",
    ".globl tinmail_copy",
    ".hidden tinmail_copy",
    ".type tinmail_copy, @function",
    "tinmail_copy:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jae .Ltinmail_copy_16",
    "cmp edx, 8",
    "jae .Ltinmail_copy_8",
    "cmp edx, 4",
    "jae .Ltinmail_copy_4",
    "test edx, edx",
    "je .Ltinmail_copy_0",
    // 1 to 3: the first, the middle and the last octet.
    "mov rcx, rdx",
    "shr rcx, 1",
    "movzx r8d, byte ptr [rsi]",
    "movzx r9d, byte ptr [rsi + rcx]",
    "movzx r10d, byte ptr [rsi + rdx - 1]",
    "mov byte ptr [rdi], r8b",
    "mov byte ptr [rdi + rcx], r9b",
    "mov byte ptr [rdi + rdx - 1], r10b",
    ".Ltinmail_copy_0:",
    "ret",
    ".Ltinmail_copy_4:",
    "mov ecx, dword ptr [rsi]",
    "mov r8d, dword ptr [rsi + rdx - 4]",
    "mov dword ptr [rdi], ecx",
    "mov dword ptr [rdi + rdx - 4], r8d",
    "ret",
    ".Ltinmail_copy_8:",
    "mov rcx, qword ptr [rsi]",
    "mov r8, qword ptr [rsi + rdx - 8]",
    "mov qword ptr [rdi], rcx",
    "mov qword ptr [rdi + rdx - 8], r8",
    "ret",
    ".Ltinmail_copy_16:",
    "movups xmm0, xmmword ptr [rsi]",
    "movups xmm1, xmmword ptr [rsi + rdx - 16]",
    "cmp rdx, 32",
    "ja .Ltinmail_copy_33",
    "movups xmmword ptr [rdi], xmm0",
    "movups xmmword ptr [rdi + rdx - 16], xmm1",
    "ret",
    ".Ltinmail_copy_33:",
    "movups xmm2, xmmword ptr [rsi + 16]",
    "movups xmm3, xmmword ptr [rsi + rdx - 32]",
    "cmp rdx, 64",
    "ja .Ltinmail_copy_65",
    "movups xmmword ptr [rdi], xmm0",
    "movups xmmword ptr [rdi + 16], xmm2",
    "movups xmmword ptr [rdi + rdx - 32], xmm3",
    "movups xmmword ptr [rdi + rdx - 16], xmm1",
    "ret",
    ".Ltinmail_copy_65:",
    "movups xmm4, xmmword ptr [rsi + 32]",
    "movups xmm5, xmmword ptr [rsi + 48]",
    "movups xmm6, xmmword ptr [rsi + rdx - 64]",
    "movups xmm7, xmmword ptr [rsi + rdx - 48]",
    "cmp rdx, 128",
    "ja .Ltinmail_copy_129",
    "movups xmmword ptr [rdi], xmm0",
    "movups xmmword ptr [rdi + 16], xmm2",
    "movups xmmword ptr [rdi + 32], xmm4",
    "movups xmmword ptr [rdi + 48], xmm5",
    "movups xmmword ptr [rdi + rdx - 64], xmm6",
    "movups xmmword ptr [rdi + rdx - 48], xmm7",
    "movups xmmword ptr [rdi + rdx - 32], xmm3",
    "movups xmmword ptr [rdi + rdx - 16], xmm1",
    "ret",
    ".Ltinmail_copy_129:",
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jb .Ltinmail_copy_backwards",
    // Forwards: the last 64 octets are in xmm6, 7, 3 and 1, the first 16 in xmm0.
    "lea r8, [rdi + rdx - 64]",
    "mov rcx, rdi",
    "and ecx, 15",
    "sub rcx, 16",
    "sub rsi, rcx",
    "sub rdi, rcx",
    ".p2align 4",
    ".Ltinmail_copy_up:",
    "movups xmm2, xmmword ptr [rsi]",
    "movups xmm4, xmmword ptr [rsi + 16]",
    "movups xmm5, xmmword ptr [rsi + 32]",
    "movups xmm8, xmmword ptr [rsi + 48]",
    "movaps xmmword ptr [rdi], xmm2",
    "movaps xmmword ptr [rdi + 16], xmm4",
    "movaps xmmword ptr [rdi + 32], xmm5",
    "movaps xmmword ptr [rdi + 48], xmm8",
    "add rsi, 64",
    "add rdi, 64",
    "cmp rdi, r8",
    "jb .Ltinmail_copy_up",
    "movups xmmword ptr [r8], xmm6",
    "movups xmmword ptr [r8 + 16], xmm7",
    "movups xmmword ptr [r8 + 32], xmm3",
    "movups xmmword ptr [r8 + 48], xmm1",
    "movups xmmword ptr [rax], xmm0",
    "ret",
    // Backwards: the first 64 octets are in xmm0, 2, 4 and 5, the last 16 in xmm1.
    ".Ltinmail_copy_backwards:",
    "lea r8, [rdi + 64]",
    "lea r9, [rdi + rdx]",
    "add rsi, rdx",
    "mov rcx, r9",
    "and ecx, 15",
    "mov rdi, r9",
    "sub rsi, rcx",
    "sub rdi, rcx",
    ".p2align 4",
    ".Ltinmail_copy_down:",
    "movups xmm3, xmmword ptr [rsi - 16]",
    "movups xmm6, xmmword ptr [rsi - 32]",
    "movups xmm7, xmmword ptr [rsi - 48]",
    "movups xmm8, xmmword ptr [rsi - 64]",
    "movaps xmmword ptr [rdi - 16], xmm3",
    "movaps xmmword ptr [rdi - 32], xmm6",
    "movaps xmmword ptr [rdi - 48], xmm7",
    "movaps xmmword ptr [rdi - 64], xmm8",
    "sub rsi, 64",
    "sub rdi, 64",
    "cmp rdi, r8",
    "ja .Ltinmail_copy_down",
    "movups xmmword ptr [rax], xmm0",
    "movups xmmword ptr [rax + 16], xmm2",
    "movups xmmword ptr [rax + 32], xmm4",
    "movups xmmword ptr [rax + 48], xmm5",
    "movups xmmword ptr [r9 - 16], xmm1",
    "ret",
    ".size tinmail_copy, . - tinmail_copy",
);

// tinmail_compare(one: rdi, other: rsi, octets: rdx) -> eax: below, at or above 0, as the first octets that differ have it.
global_asm!(
    ".text",
    ".p2align 5",
    ".globl tinmail_compare",
    ".hidden tinmail_compare",
    ".type tinmail_compare, @function",
    "tinmail_compare:",
    "cmp rdx, 16",
    "jb .Ltinmail_compare_short",
    // 16 at once, at last the 16 up to the end.
    ".Ltinmail_compare_16:",
    "movdqu xmm0, xmmword ptr [rdi]",
    "movdqu xmm1, xmmword ptr [rsi]",
    "pcmpeqb xmm0, xmm1",
    "pmovmskb eax, xmm0",
    "xor eax, 65535",
    "jne .Ltinmail_compare_differ",
    "cmp rdx, 16",
    "je .Ltinmail_compare_equal",
    "mov rcx, rdx",
    "sub rcx, 16",
    "cmp rcx, 16",
    "mov r8d, 16",
    "cmova rcx, r8",
    "add rdi, rcx",
    "add rsi, rcx",
    "sub rdx, rcx",
    "jmp .Ltinmail_compare_16",
    ".Ltinmail_compare_differ:",
    "bsf eax, eax",
    "movzx ecx, byte ptr [rsi + rax]",
    "movzx eax, byte ptr [rdi + rax]",
    "sub eax, ecx",
    "ret",
    ".Ltinmail_compare_equal:",
    "xor eax, eax",
    "ret",
    // Numbers whose first octet counts most compare as the octets do.
    ".Ltinmail_compare_short:",
    "cmp edx, 8",
    "jb .Ltinmail_compare_7",
    "mov rax, qword ptr [rdi]",
    "mov rcx, qword ptr [rsi]",
    "bswap rax",
    "bswap rcx",
    "cmp rax, rcx",
    "jne .Ltinmail_compare_order",
    "mov rax, qword ptr [rdi + rdx - 8]",
    "mov rcx, qword ptr [rsi + rdx - 8]",
    "bswap rax",
    "bswap rcx",
    "cmp rax, rcx",
    "jne .Ltinmail_compare_order",
    "xor eax, eax",
    "ret",
    ".Ltinmail_compare_7:",
    "cmp edx, 4",
    "jb .Ltinmail_compare_3",
    "mov eax, dword ptr [rdi]",
    "mov ecx, dword ptr [rsi]",
    "bswap eax",
    "bswap ecx",
    "cmp eax, ecx",
    "jne .Ltinmail_compare_order",
    "mov eax, dword ptr [rdi + rdx - 4]",
    "mov ecx, dword ptr [rsi + rdx - 4]",
    "bswap eax",
    "bswap ecx",
    "cmp eax, ecx",
    "jne .Ltinmail_compare_order",
    "xor eax, eax",
    "ret",
    ".Ltinmail_compare_3:",
    "xor eax, eax",
    "test edx, edx",
    "je .Ltinmail_compare_done",
    ".Ltinmail_compare_1:",
    "movzx eax, byte ptr [rdi]",
    "movzx ecx, byte ptr [rsi]",
    "sub eax, ecx",
    "jne .Ltinmail_compare_done",
    "inc rdi",
    "inc rsi",
    "dec edx",
    "jne .Ltinmail_compare_1",
    ".Ltinmail_compare_done:",
    "ret",
    ".Ltinmail_compare_order:",
    "sbb eax, eax",
    "or eax, 1",
    "ret",
    ".size tinmail_compare, . - tinmail_compare",
);

// The names by which everybody calls them. Tests run with another library, which keeps its own.
#[cfg(all(target_env = "musl", not(test)))]
global_asm!(
    ".globl memcpy",
    ".globl memmove",
    ".globl memcmp",
    ".globl bcmp",
    ".set memcpy, tinmail_copy",
    ".set memmove, tinmail_copy",
    ".set memcmp, tinmail_compare",
    ".set bcmp, tinmail_compare",
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::cmp::Ordering;

    // SAFETY: as memmove and memcmp.
    unsafe extern "C" {
        fn tinmail_copy(to: *mut u8, from: *const u8, octets: usize) -> *mut u8;
        fn tinmail_compare(one: *const u8, other: *const u8, octets: usize) -> i32;
    }

    /// Within one buffer, so that they may overlap.
    fn copy_within(buffer: &mut [u8], from: usize, to: usize, octets: usize) {
        assert!(from + octets <= buffer.len() && to + octets <= buffer.len());
        let start = buffer.as_mut_ptr();
        // SAFETY: both are within the buffer.
        let returned = unsafe { tinmail_copy(start.add(to), start.add(from), octets) };
        // SAFETY: within the buffer.
        assert_eq!(returned, unsafe { start.add(to) });
    }

    fn compare(one: &[u8], other: &[u8]) -> Ordering {
        assert_eq!(one.len(), other.len());
        // SAFETY: both have so many octets.
        unsafe { tinmail_compare(one.as_ptr(), other.as_ptr(), one.len()) }.cmp(&0)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    #[test]
    fn every_length_at_every_alignment() {
        let before = pattern(2200);
        for octets in (0..300).chain([511, 512, 1000, 1001]) {
            for (from, to) in (0..17).flat_map(|at| [(at, 1100), (64, 1100 + at), (at, 1100 + at)]) {
                let (mut buffer, mut want) = (before.clone(), before.clone());
                want.copy_within(from..from + octets, to);
                copy_within(&mut buffer, from, to, octets);
                assert!(buffer == want, "{octets} octets from {from} to {to}");
            }
        }
    }

    #[test]
    fn copies_that_overlap() {
        let before = pattern(1200);
        for octets in (0..200).chain([255, 256, 700]) {
            for distance in (0..70).chain([127, 128, 129, 300]) {
                for (from, to) in [(100, 100 + distance), (100 + distance, 100)] {
                    let (mut buffer, mut want) = (before.clone(), before.clone());
                    want.copy_within(from..from + octets, to);
                    copy_within(&mut buffer, from, to, octets);
                    assert!(buffer == want, "{octets} octets from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn the_first_difference_decides() {
        for octets in 0..100 {
            let one = pattern(octets);
            assert_eq!(compare(&one, &one.clone()), Ordering::Equal);
            for at in 0..octets {
                for (octet, behind) in [(0, 255), (255, 0), (0x7f, 1), (0x80, 0)] {
                    let mut other = one.clone();
                    other[at] = octet;
                    if let Some(last) = other.get_mut(at + 1..).and_then(<[u8]>::last_mut) {
                        *last = behind;
                    }
                    assert_eq!(compare(&one, &other), one.cmp(&other), "{octets} octets, {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn anything_is_compared_as_slices_are(
            one in proptest::collection::vec(0u8..3, 0..60), other in proptest::collection::vec(0u8..3, 0..60),
        ) {
            let length = one.len().min(other.len());
            prop_assert_eq!(compare(&one[..length], &other[..length]), one[..length].cmp(&other[..length]));
        }
    }
}
