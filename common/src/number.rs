//! Numbers as they are printed, without the machinery of formatting: answers and lists have hundreds of thousands of them.

/// Octets of the longest number.
pub const LONGEST: usize = 20;

/// `number` in decimal, written to the end of `room`.
pub fn decimal(mut number: u64, room: &mut [u8; LONGEST]) -> &[u8] {
    let mut first = room.len();
    for (at, digit) in room.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first = at;
        if number == 0 {
            break;
        }
    }
    room.get(first..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_of_the_range() {
        for number in [0, 1, 9, 10, 99, 100, 999_999_999, 1_000_000_000, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; LONGEST]), number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn as_formatted(number in any::<u64>()) {
            let mut room = [0; LONGEST];
            let want = number.to_string();
            prop_assert_eq!(decimal(number, &mut room), want.as_bytes());
        }
    }
}
