//! What Linux takes as the arguments and the environment of a program (execve(2), "Limits on size of arguments and environment").

use crate::error::{Error, Result};

/// Longest argument, and longest variable with its name, in bytes: MAX_ARG_STRLEN without the NUL at its end.
const MAX_ONE: usize = 128 * 1024 - 1;
/// Most bytes of all, with a NUL and a pointer for each: a quarter of the stack of 8 MiB that init gives a job, less what kvet's own
/// shell and environment add.
pub const MAX_TOTAL: usize = (2 << 20) - (64 << 10);

/// Checks that a guest's kernel takes these.
///
/// # Errors
/// The caller's: an argument is too long, there are too many, or one has a NUL in it. `shown` is the program.
pub fn check<'a>(
    shown: &str,
    arguments: impl IntoIterator<Item = &'a String>,
    environment: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<()> {
    let mut total = 0;
    let mut add = |what: &str, length: usize, has_nul: bool| {
        if has_nul {
            return Err(Error::caller(format!("{shown}: {what} has a NUL byte in it")));
        }
        if length > MAX_ONE {
            return Err(Error::caller(format!(
                "{shown}: {what} has {length} bytes, and Linux takes at most {MAX_ONE}"
            ))
            .hint("put it into a file beside the program"));
        }
        total += length + 1 + size_of::<usize>();
        Ok(())
    };
    for (index, argument) in arguments.into_iter().enumerate() {
        add(&format!("argument {}", index + 1), argument.len(), argument.contains('\0'))?;
    }
    for (name, value) in environment {
        let length = name.len() + 1 + value.len();
        add(&format!("the variable {name:?}"), length, name.contains('\0') || value.contains('\0'))?;
    }
    if total > MAX_TOTAL {
        return Err(Error::caller(format!(
            "{shown}: the arguments and the environment take {total} bytes, and kvet can give a guest's program {MAX_TOTAL}"
        ))
        .hint("put them into a file beside the program"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn refused(arguments: &[String], variable: Option<(&String, &String)>) -> String {
        let error = check("./prog", arguments, variable).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        error.to_string()
    }

    #[test]
    fn what_linux_takes_is_taken() {
        let many: Vec<String> = (1..=8000).map(|n| n.to_string()).collect();
        let odd = [String::new(), "a\nb".into(), "x".repeat(MAX_ONE)];
        check("./prog", many.iter().chain(&odd), None).unwrap();
    }

    #[test]
    fn what_linux_refuses_names_its_limit() {
        let one = refused(&["a".into(), "x".repeat(MAX_ONE + 1)], None);
        assert_eq!(one, "./prog: argument 2 has 131072 bytes, and Linux takes at most 131071");
        let all = refused(&vec!["x".repeat(1000); 2100], None);
        assert!(all.contains("take 2118900 bytes") && all.ends_with("2031616"), "{all}");
        let nul = refused(&["a\0b".into()], None);
        assert_eq!(nul, "./prog: argument 1 has a NUL byte in it");
        let (name, value) = ("V".to_owned(), "x".repeat(MAX_ONE));
        let variable = refused(&[], Some((&name, &value)));
        assert!(variable.contains("the variable \"V\" has 131073 bytes"), "{variable}");
    }
}
