//! A request as the command line of `kvet run` that makes it again.

use clap::ValueEnum;

use crate::kernel::{ConfigBase, Toolchain};
use crate::plan::{Request, ShareMode};
use crate::vm::accel::AccelChoice;

/// The words after the program's name. What a bisection cannot ask for is not in them.
pub fn words(request: &Request) -> Vec<String> {
    let mut words = vec!["run".to_owned()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    request.kernels.iter().for_each(|kernel| add("-k", kernel.clone()));
    request.archs.iter().for_each(|arch| add("-a", arch.to_string()));
    request.suite.iter().for_each(|suite| add("-s", suite.clone()));
    request.slices.iter().for_each(|slice| add("--slice", slice.clone()));
    request.selftests.iter().for_each(|source| add("--selftests", source.clone()));
    request.config.iter().for_each(|fragment| add("--config", fragment.display().to_string()));
    if request.toolchain != Toolchain::default() {
        add("--toolchain", request.toolchain.to_string());
    }
    if request.base != ConfigBase::default() {
        add("--base", name(&request.base));
    }
    match request.accel {
        AccelChoice::Auto => {}
        AccelChoice::Kvm => add("--accel", "kvm".to_owned()),
        AccelChoice::Tcg => add("--accel", "tcg".to_owned()),
    }
    request.memory_mib.iter().for_each(|mib| add("--memory", format!("{mib}M")));
    request.cpus.iter().for_each(|cpus| add("--cpus", cpus.to_string()));
    request.timeout.iter().for_each(|time| add("--timeout", format!("{}ms", time.as_millis())));
    request.deadline.iter().for_each(|time| add("--deadline", format!("{}ms", time.as_millis())));
    if request.share != ShareMode::default() {
        add("--share", name(&request.share));
    }
    request.tests.iter().for_each(|test| add("-t", test.clone()));
    words
}

/// The word for a value that is one of a few.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::arch::Arch;
    use crate::cmd::args::{Cli, Command};

    /// What `kvet run` makes of it.
    fn read_back(words: &[String]) -> Request {
        let all = std::iter::once("kvet").chain(words.iter().map(String::as_str));
        match Cli::try_parse_from(all).unwrap().command {
            Command::Run(args) => crate::cmd::run::request(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn kvet_run_is_asked_for_the_same() {
        let plain = Request {
            kernels: vec!["git:/home/a b/linux@0123456789abcdef".into()],
            archs: vec![Arch::Arm64],
            tests: vec!["a/b".into(), globset::escape("a/[c]*")],
            // Who names tests for kvet run wants to see them run; a bisection skips a kernel on which they do not.
            must_run: true,
            ..Request::default()
        };
        assert_eq!(words(&plain)[..5], ["run", "-k", "git:/home/a b/linux@0123456789abcdef", "-a", "arm64"]);
        let whole = Request {
            suite: Some("upstream".into()),
            slices: vec!["dynptr".into(), "x=a,b".into()],
            selftests: Some("debian-source:7.3".into()),
            config: vec!["debug".into(), "./own config".into()],
            toolchain: "clang-19".parse::<Toolchain>().unwrap(),
            base: ConfigBase::Defconfig,
            accel: AccelChoice::Tcg,
            memory_mib: Some(1536),
            cpus: Some(2),
            timeout: Some(Duration::from_millis(1500)),
            deadline: Some(Duration::from_secs(600)),
            share: ShareMode::Initramfs,
            ..plain.clone()
        };
        for request in [plain, whole] {
            assert_eq!(format!("{:?}", read_back(&words(&request))), format!("{request:?}"));
        }
    }
}
