//! Truth values as docker's clients write them in options.

/// Reads a truth value; `None`: it is none.
///
/// Source: Go `strconv.ParseBool`.
pub fn parse(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_gos_words_are_truth_values() {
        let words = ["1", "t", "TRUE", "True", "0", "f", "FALSE", "yes", "tRUE", ""];
        let (yes, no) = (Some(true), Some(false));
        let expected = [yes, yes, yes, yes, no, no, no, None, None, None];
        assert_eq!(words.map(super::parse), expected);
    }
}
