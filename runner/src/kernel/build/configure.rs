//! The config of a kernel: asked for, made by kbuild, and proved.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{IoContext, Result};
use kvet_host::disk;

use super::super::kconfig::KernelConfig;
use super::make::Make;
use super::settled::{self, Proved};
use super::{Base, Work, proof};

impl Work<'_> {
    /// Makes the config, proves it, and puts it where make looks, if it differs from what is there: then nothing is built
    /// again for it. One that was proved before and would come out the same is taken as it is; of a new one it can be
    /// remembered, once make has settled it, that it was proved.
    pub(super) fn configure(&self, make: &Make<'_>, dir: &Path) -> Result<(KernelConfig, Option<Proved>)> {
        let asked_for = self.merged.text();
        if let Some(config) = settled::known(dir, &self.tree.path, &self.facts.source_arch, &asked_for) {
            return Ok((config, None));
        }
        settled::forget(dir);
        let begun = SystemTime::now();
        let text = self.make_config(make, dir, &asked_for)?;
        let config = KernelConfig::parse(&text);
        proof::prove(&self.merged, &config, &self.tree.path, &self.facts.source_arch, self.tree.version)?;
        let used = dir.join("out/.config");
        if fs::read_to_string(&used).ok().as_ref() != Some(&text) {
            fs::write(&used, &text).map_err(|e| disk::explain(e, &used, "write"))?;
        }
        Ok((config, Some(Proved::new(&asked_for, &text, begun))))
    }

    /// The text of the config that kbuild makes of what is asked for.
    fn make_config(&self, make: &Make<'_>, dir: &Path, asked_for: &str) -> Result<String> {
        let asked = dir.join("asked.config");
        fs::write(&asked, asked_for).map_err(|e| disk::explain(e, &asked, "write"))?;
        let made = dir.join("made.config");
        let _ = fs::remove_file(&made);
        let read = || fs::read_to_string(&made).host(format_args!("read {}", made.display()));
        let run = |target: &str, all: bool| {
            let mut command = make.command(&[target]);
            command.env("KCONFIG_CONFIG", &made);
            if all {
                command.env("KCONFIG_ALLCONFIG", &asked);
            }
            make.run(&mut command, &mut |_| {})
        };
        match self.order.recipe.base {
            Base::Tiny => run(Base::Tiny.target(), true)?,
            Base::Defconfig => {
                run(Base::Defconfig.target(), false)?;
                // Of two lines for one option the later one counts.
                let text = read()? + asked_for;
                fs::write(&made, text).map_err(|e| disk::explain(e, &made, "write"))?;
            }
        }
        run("olddefconfig", false)?;
        read()
    }
}
