//! Figures as people read them. What rounds to nothing is 0, never -0: sums of nothing and differences of equals
//! come out as either, and a reader takes the sign for a fall.

/// A number with so many digits behind the point.
pub fn rounded(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.bytes().all(|octet| matches!(octet, b'0' | b'.')) => zero.to_owned(),
        _ => text,
    }
}

/// As [`rounded`], with its sign also above 0: `+3`, `-3`, `0`.
pub fn signed(value: f64, digits: usize) -> String {
    let text = rounded(value, digits);
    let is_zero = text.bytes().all(|octet| matches!(octet, b'0' | b'.'));
    if is_zero || text.starts_with('-') { text } else { format!("+{text}") }
}

/// A part of a whole, 0 to 1 where it is within it: `12.5 %`.
pub fn percent(part: f64, digits: usize) -> String {
    format!("{} %", rounded(part * 100.0, digits))
}

/// The same with as many digits as it has, six at most: `1 %`, `0.25 %`.
pub fn whole_percent(part: f64) -> String {
    format!("{} %", (part * 1e8).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_sign() {
        for nothing in [0.0, -0.0, -0.04, 0.04, std::iter::empty::<f64>().sum()] {
            assert_eq!([rounded(nothing, 1), rounded(nothing, 0), signed(nothing, 1)], ["0.0", "0", "0.0"]);
            assert_eq!(percent(nothing / 100.0, 1), "0.0 %");
        }
        assert_eq!([rounded(-0.05, 2), rounded(-1.0, 0), rounded(7.25, 1)], ["-0.05", "-1", "7.2"]);
        assert_eq!([signed(3.0, 0), signed(-3.0, 0), signed(-0.4, 1)], ["+3", "-3", "-0.4"]);
        assert_eq!([percent(1.0, 0), percent(0.125, 1), percent(-0.5, 0)], ["100 %", "12.5 %", "-50 %"]);
    }
}
