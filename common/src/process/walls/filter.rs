//! The front's system call filter, for the 64-bit CPUs that seccompiler knows.
//!
//! When a filter is installed, the kernel runs it for each number that there is, to know which calls it need not ask about.
//! So the numbers are looked up in a tree: seccompiler's own programs go through a list, and installing one takes three times
//! as long, more than all the rest of a front's start. The tests compare the two.

use seccompiler::{BpfProgram, TargetArch, sock_filter};
use std::io;

/// A call, and what is asked of its arguments.
type Rule = (i64, Condition);

/// What a call's arguments must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Anything.
    None,
    /// The argument with this index has none of these bits. Only its lower 32 bits count.
    Lacks(u32, u32),
    /// The argument with this index is this, as far as its lower 32 bits go.
    #[cfg(debug_assertions)]
    Is(u32, u32),
}

// BPF, as far as it is used (linux/bpf_common.h), and what a program says (linux/seccomp.h).
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
/// Where a program finds the call's number, the CPU's, and the lower half of an argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// The filter; `None` on a CPU that has none.
pub(super) fn prepare() -> io::Result<Option<BpfProgram>> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(None) };
    let mut rules = allowed_calls();
    rules.sort_unstable_by_key(|(number, _)| *number);
    let mut program = Backwards(vec![result(ALLOW), result(KILL)]);
    program.add_tree(&rules)?;
    program.0.push(load(NUMBER));
    // The CPU's other numbers are not ours.
    program.add_jump(JUMP_IF_EQUAL, audit_number(arch), NEXT, Backwards::KILL)?;
    program.0.push(load(ARCH));
    program.0.reverse();
    Ok(Some(program.0))
}

/// What the kernel calls the CPU (linux/audit.h).
fn audit_number(arch: TargetArch) -> u32 {
    match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    }
}

/// A program, the last instruction first: jumps go forward, and where they go is there already. It has one instruction that
/// allows and one that kills, because the kernel takes the longer to translate a program the longer it is.
struct Backwards(BpfProgram);

/// Where a jump goes: to an instruction, counted from the end; `None`: to the next one.
type Target = Option<usize>;

const NEXT: Target = None;

impl Backwards {
    // What no rule is for comes to the second.
    const ALLOW: Target = Some(0);
    const KILL: Target = Some(1);

    /// Halves the rules until one is left.
    fn add_tree(&mut self, rules: &[Rule]) -> io::Result<()> {
        let (lower, upper) = rules.split_at(rules.len() / 2);
        match (upper.first(), lower) {
            (Some((first, _)), [_, ..]) => {
                self.add_tree(upper)?;
                let upper = self.0.len().checked_sub(1);
                self.add_tree(lower)?;
                self.add_jump(JUMP_IF_AT_LEAST, *first as u32, upper, NEXT)
            }
            (Some(rule), []) => self.add_rule(rule),
            (None, _) => Ok(()),
        }
    }

    /// Allows a call, and nothing else.
    fn add_rule(&mut self, (number, condition): &Rule) -> io::Result<()> {
        let right = match *condition {
            Condition::None => Backwards::ALLOW,
            Condition::Lacks(index, bits) => {
                self.add_jump(JUMP_IF_ANY, bits, Backwards::KILL, Backwards::ALLOW)?;
                self.0.push(load(argument(index)));
                NEXT
            }
            #[cfg(debug_assertions)]
            Condition::Is(index, value) => {
                self.add_jump(JUMP_IF_EQUAL, value, Backwards::ALLOW, Backwards::KILL)?;
                self.0.push(load(argument(index)));
                NEXT
            }
        };
        self.add_jump(JUMP_IF_EQUAL, *number as u32, right, Backwards::KILL)
    }

    fn add_jump(&mut self, code: u16, than: u32, yes: Target, no: Target) -> io::Result<()> {
        let far = |target: Target| {
            let skipped = target.map_or(0, |target| self.0.len().saturating_sub(target + 1));
            u8::try_from(skipped).map_err(|_| io::Error::other("too many system calls"))
        };
        let jump = sock_filter { code, jt: far(yes)?, jf: far(no)?, k: than };
        self.0.push(jump);
        Ok(())
    }
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn result(k: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k }
}

/// What the front needs: to read, write and wait on what is open, memory that is not executable, the time, randomness,
/// and to end.
fn allowed_calls() -> Vec<Rule> {
    let plain = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        #[cfg(not(target_arch = "x86_64"))]
        libc::SYS_ppoll,
        libc::SYS_shutdown,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_restart_syscall,
        libc::SYS_exit_group,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
    ];
    let mut rules = Vec::with_capacity(plain.len() + 3);
    rules.extend(plain.map(|call| (call, Condition::None)));
    // Builds for tests look whether a descriptor is open before they close it.
    #[cfg(debug_assertions)]
    rules.push((libc::SYS_fcntl, Condition::Is(1, libc::F_GETFD as u32)));
    // No page is both the client's to fill and the processor's to run.
    rules.extend(
        [libc::SYS_mmap, libc::SYS_mprotect].map(|call| (call, Condition::Lacks(2, libc::PROT_EXEC as u32))),
    );
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    use std::collections::BTreeMap;

    /// What seccompiler makes of the same rules.
    fn reference(arch: TargetArch) -> BpfProgram {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for (number, condition) in allowed_calls() {
            let (index, how, value) = match condition {
                Condition::None => {
                    rules.insert(number, Vec::new());
                    continue;
                }
                Condition::Lacks(index, bits) => (index, SeccompCmpOp::MaskedEq(bits.into()), 0),
                Condition::Is(index, value) => (index, SeccompCmpOp::Eq, value),
            };
            let index = u8::try_from(index).unwrap();
            let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, value.into()).unwrap();
            rules.insert(number, vec![SeccompRule::new(vec![condition]).unwrap()]);
        }
        let (no, yes) = (SeccompAction::KillProcess, SeccompAction::Allow);
        SeccompFilter::new(rules, no, yes, arch).unwrap().try_into().unwrap()
    }

    /// As the kernel would.
    fn run(program: &[sock_filter], number: u32, arch: u32, arguments: [u32; 3]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let mut next = 0;
            match (code, k) {
                (LOAD, NUMBER) => accumulator = number,
                (LOAD, ARCH) => accumulator = arch,
                (LOAD, k) => {
                    assert!(k % 8 == 0, "only lower halves");
                    accumulator = arguments[(k as usize - 16) / 8];
                }
                // What seccompiler makes of it.
                (0x54, bits) => accumulator &= bits,
                (JUMP_IF_ANY, k) => next = if accumulator & k != 0 { jt } else { jf },
                (JUMP_IF_EQUAL, k) => next = if accumulator == k { jt } else { jf },
                (JUMP_IF_AT_LEAST, k) => next = if accumulator >= k { jt } else { jf },
                (0x05, far) => at += far as usize,
                (RETURN, k) => return k,
                other => panic!("{other:?}"),
            }
            at += 1 + usize::from(next);
        }
    }

    #[test]
    fn the_tree_says_what_the_list_says() {
        let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return };
        let (tree, list) = (prepare().unwrap().unwrap(), reference(arch));
        let mut allowed = 0;
        for number in (0..2000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            for prot in [0, 1, 3, 4, 5, 7, u32::MAX] {
                let arguments = [9, prot, prot];
                let said = run(&tree, number, audit_number(arch), arguments);
                assert_eq!(said, run(&list, number, audit_number(arch), arguments), "{number} {prot}");
                assert!([ALLOW, KILL].contains(&said));
                allowed += u32::from(said == ALLOW && prot == 3);
                for other in [0, 0x4000_0003, audit_number(arch) ^ 1] {
                    assert_eq!(run(&tree, number, other, arguments), KILL);
                }
            }
        }
        // All but fcntl, of which this is no look.
        assert_eq!(allowed as usize, allowed_calls().len() - 1);
    }
}
