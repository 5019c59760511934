//! Numbers as people read them.

/// The middle one of some figures, or what is between the two in the middle;
/// `None` when there are none.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut figures = figures.to_vec();
    figures.sort_unstable_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    let lower = figures[(figures.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// A number with as many digits as say something.
pub fn short(number: f64) -> String {
    match number {
        0.0 => "0".into(),
        small if small.abs() < 10.0 => format!("{small:.2}"),
        medium if medium.abs() < 1000.0 => format!("{medium:.1}"),
        large => {
            let digits = format!("{large:.0}");
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .filter_map(|group| std::str::from_utf8(group).ok())
                .collect();
            groups.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_digits_that_say_something() {
        let shown = [0.0, 0.123, 12.34, 999.96, 1234.5, 1_234_567.0].map(short);
        assert_eq!(shown, ["0", "0.12", "12.3", "1000.0", "1,234", "1,234,567"]);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
