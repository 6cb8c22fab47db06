//! Conditions of Kconfig files, as far as they explain what is unmet.

use super::super::kconfig::KernelConfig;

/// Most tokens of a condition.
const MAX_TOKENS: usize = 4096;

/// The parts of a condition that do not hold, each as it is written, with the values that matter: `NF_TABLES (n)`.
pub(super) fn unmet(condition: &str, config: &KernelConfig) -> Vec<String> {
    let tokens = tokens(condition);
    let mut parser = Parser { tokens: &tokens, at: 0, config };
    let mut unmet = Vec::new();
    // The parts that are joined by && at the top, one after the other.
    loop {
        let start = parser.at;
        let value = parser.or_term();
        let text = tokens[start..parser.at].join(" ");
        if value == Some(false) {
            unmet.push(describe(&text, &tokens[start..parser.at], config));
        }
        match parser.peek() {
            Some("&&") => parser.at += 1,
            // An || at the top: it is one part after all.
            Some("||") => {
                let mut whole = Parser { tokens: &tokens, at: 0, config };
                return match whole.any() {
                    Some(false) => vec![describe(&tokens.join(" "), &tokens, config)],
                    _ => Vec::new(),
                };
            }
            _ => return unmet,
        }
    }
}

/// Whether a condition holds; none where that cannot be told here.
pub(super) fn holds(condition: &str, config: &KernelConfig) -> Option<bool> {
    let tokens = tokens(condition);
    Parser { tokens: &tokens, at: 0, config }.any()
}

fn describe(text: &str, tokens: &[String], config: &KernelConfig) -> String {
    if let [one] = tokens {
        return format!("{one} (is {})", config.get(one).unwrap_or("n"));
    }
    let values: Vec<String> = tokens
        .iter()
        .filter(|t| is_symbol(t) && !matches!(t.as_str(), "y" | "m" | "n"))
        .map(|t| format!("{t}={}", config.get(t).unwrap_or("n")))
        .collect();
    format!("{text} ({})", values.join(", "))
}

fn is_symbol(token: &str) -> bool {
    token.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && token.bytes().any(|c| c.is_ascii_alphabetic())
}

fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && all.len() < MAX_TOKENS {
        let length = if rest.starts_with("$(") {
            closing(rest)
        } else if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
            rest[1..].find(quote).map_or(rest.len(), |end| end + 2)
        } else if ["&&", "||", "!=", "<=", ">="].iter().any(|op| rest.starts_with(op)) {
            2
        } else if rest.starts_with(['!', '(', ')', '=', '<', '>']) {
            1
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)));
            end.unwrap_or(rest.len()).max(rest.chars().next().map_or(1, char::len_utf8))
        };
        all.push(rest[..length].to_string());
        rest = rest[length..].trim_start();
    }
    all
}

/// The length of `$(…)` at the beginning.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
    config: &'a KernelConfig,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    /// The lowest: `a || b`.
    fn any(&mut self) -> Option<bool> {
        let mut value = self.all();
        while self.peek() == Some("||") {
            self.at += 1;
            let next = self.all();
            value = match (value, next) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            };
        }
        value
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.or_term();
        while self.peek() == Some("&&") {
            self.at += 1;
            let next = self.or_term();
            value = match (value, next) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            };
        }
        value
    }

    /// One part between && and ||.
    fn or_term(&mut self) -> Option<bool> {
        match self.peek() {
            Some("!") => {
                self.at += 1;
                self.or_term().map(|value| !value)
            }
            Some("(") => {
                self.at += 1;
                let value = self.any();
                self.at += usize::from(self.peek() == Some(")"));
                value
            }
            Some(_) => self.comparison(),
            None => None,
        }
    }

    fn comparison(&mut self) -> Option<bool> {
        let left = self.peek()?.to_string();
        self.at += 1;
        let operator =
            self.peek().filter(|t| ["=", "!=", "<", ">", "<=", ">="].contains(t)).map(str::to_string);
        let Some(operator) = operator else {
            return self.value(&left).map(|value| value != "n" && !value.is_empty());
        };
        self.at += 1;
        let right = self.peek()?.to_string();
        self.at += 1;
        let (left, right) = (self.value(&left)?, self.value(&right)?);
        Some(match operator.as_str() {
            "=" => left == right,
            "!=" => left != right,
            operator => {
                let (left, right) = (number(&left)?, number(&right)?);
                match operator {
                    "<" => left < right,
                    ">" => left > right,
                    "<=" => left <= right,
                    _ => left >= right,
                }
            }
        })
    }

    /// A symbol's value, or a constant. What the kernel's scripts find out is not known here.
    fn value(&self, token: &str) -> Option<String> {
        if token.starts_with('$') {
            return None;
        }
        if let Some(inner) = token.strip_prefix(['"', '\'']) {
            return Some(inner.trim_end_matches(['"', '\'']).to_string());
        }
        if matches!(token, "y" | "m" | "n") || number(token).is_some() {
            return Some(token.to_string());
        }
        Some(self.config.get(token).unwrap_or("n").to_string())
    }
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> KernelConfig {
        KernelConfig::parse("CONFIG_A=y\nCONFIG_M=m\nCONFIG_PAHOLE_VERSION=124\nCONFIG_64BIT=y\n")
    }

    #[test]
    fn conditions_are_evaluated_as_kconfig_does() {
        for (text, value) in [
            ("A && M", Some(true)),
            ("A && !B", Some(true)),
            ("!(A && B) && A", Some(true)),
            ("B || (C && A)", Some(false)),
            ("A=y && M=m && B=n", Some(true)),
            ("M != y", Some(true)),
            ("PAHOLE_VERSION >= 130", Some(false)),
            ("64BIT", Some(true)),
            ("$(cc-option,-fx(y)) && A", None),
            ("$(success,true) && B", Some(false)),
            ("A || $(x)", Some(true)),
            ("", None),
        ] {
            assert_eq!(holds(text, &config()), value, "{text}");
        }
    }

    #[test]
    fn the_parts_that_do_not_hold_are_named_with_their_values() {
        assert_eq!(unmet("A && B && (C || D)", &config()), ["B (is n)", "( C || D ) (C=n, D=n)"]);
        assert_eq!(unmet("B || C", &config()), ["B || C (B=n, C=n)"]);
        assert_eq!(unmet("PAHOLE_VERSION >= 130", &config()), ["PAHOLE_VERSION >= 130 (PAHOLE_VERSION=124)"]);
        assert_eq!(unmet("A || B", &config()), Vec::<String>::new());
        assert_eq!(unmet("A && (", &config()), Vec::<String>::new());
    }
}
