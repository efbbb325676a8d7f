//! What of a source is left out by name.

use std::{path::Path, str::FromStr};

use glob::{MatchOptions, Pattern, PatternError};

/// A pattern for paths from the source on. One with a slash is for the path as a whole; one without is for the name of a
/// file or folder at any depth. What lies in a folder that matches is left out with it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Exclude {
    pattern: Pattern,
    whole: bool,
}

/// A star stays within a name, two of them do not; a leading dot needs no dot in the pattern.
const RULES: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

impl FromStr for Exclude {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        // `thumbs/` is how many write a folder
        let text = text.strip_suffix('/').unwrap_or(text);
        Ok(Self { pattern: Pattern::new(text)?, whole: text.contains('/') })
    }
}

impl Exclude {
    pub(in crate::cli) fn matches(&self, within: &Path) -> bool {
        // the entries of a tar file may begin with it
        let within = within.strip_prefix(".").unwrap_or(within);
        within.ancestors().any(|path| {
            if self.whole {
                self.pattern.matches_path_with(path, RULES)
            } else {
                path.file_name().is_some_and(|name| self.pattern.matches_path_with(Path::new(name), RULES))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_names_at_any_depth_or_with_a_slash_for_the_whole_path() {
        for (pattern, within, expected) in [
            ("*_small.jpg", "a/b/1_small.jpg", true),
            ("*_small.jpg", "a/b/1_small.png", false),
            ("thumbs", "a/thumbs/b/1.jpg", true),
            ("thumbs/", "./thumbs/1.jpg", true),
            ("thumbs", "a/thumbs.jpg", false),
            ("a/*.jpg", "a/1.jpg", true),
            ("a/*.jpg", "a/b/1.jpg", false),
            ("a/*.jpg", "c/a/1.jpg", false),
            ("a/**", "a/b/1.jpg", true),
            ("a/b", "a/b/c/1.jpg", true),
            ("**/b/*.jpg", "a/x/b/1.jpg", true),
            ("[0-3].jpg", "2.jpg", true),
        ] {
            assert_eq!(pattern.parse::<Exclude>().unwrap().matches(Path::new(within)), expected, "{pattern} {within}");
        }
        assert!("[".parse::<Exclude>().is_err());
    }
}
