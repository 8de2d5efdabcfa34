//! Puts a program together: activities, the tools they run in child processes, workflows.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use telecine_activities::child::{TOOL_ARGUMENT, serve};
use telecine_engine::activity::{Activity, RegisterError, Registry};

use crate::cli;
use crate::testing::rehearsal::{self, REHEARSE};
use crate::tool::{Tool, ToolHost};

/// How a program exits that was put together or called wrongly.
const USAGE: u8 = 2;

type Register = Box<dyn FnOnce(&mut Registry, &ToolHost) -> Result<(), RegisterError>>;
type Serve = fn() -> ExitCode;

/// A program in the making: telecine's commands, activities and workflows, and what is added.
///
/// Made by [`App::builder`](crate::App::builder). The order of the calls does not matter.
#[must_use = "a program does nothing until `run` is called"]
pub struct AppBuilder {
    activities: Vec<Register>,
    tools: Vec<(&'static str, Serve)>,
    workflows: Vec<Workflow>,
}

/// A workflow that comes with the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workflow {
    /// What it is called in messages about its text.
    pub(crate) file: Cow<'static, str>,
    /// Its definition as written.
    pub(crate) text: Cow<'static, str>,
}

/// What a program can do, put together.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its activities.
    pub(crate) registry: Arc<Registry>,
    /// Its workflows: telecine's own, then the others as they were added.
    pub(crate) workflows: Vec<Workflow>,
}

impl AppBuilder {
    /// telecine as it comes.
    pub(crate) fn new() -> Self {
        let builtins = telecine_workflows::BUILTINS.iter();
        let workflows = builtins.map(|builtin| Workflow {
            file: builtin.file.into(),
            text: builtin.text.into(),
        });
        let builder = Self {
            activities: Vec::new(),
            tools: Vec::new(),
            workflows: workflows.collect(),
        };
        builder.activities(telecine_activities::register)
    }

    /// Adds an activity.
    pub fn activity<A: Activity>(self, activity: A) -> Self {
        self.activities(|registry, _| registry.register(activity).map(drop))
    }

    /// Adds an activity that runs [tools](crate::tool): `make` is given what starts them.
    pub fn activity_with<A: Activity>(self, make: impl FnOnce(&ToolHost) -> A + 'static) -> Self {
        self.activities(|registry, host| registry.register(make(host)).map(drop))
    }

    /// Adds all activities of a crate of them: the built-in ones are added by this call.
    pub fn activities(
        mut self,
        register: impl FnOnce(&mut Registry, &ToolHost) -> Result<(), RegisterError> + 'static,
    ) -> Self {
        self.activities.push(Box::new(register));
        self
    }

    /// Adds a tool: code that activities run in a child process of this program. A program with
    /// two tools of one name does not start.
    pub fn tool<T: Tool>(mut self) -> Self {
        self.tools.push((T::NAME, serve::<T>));
        self
    }

    /// Adds a workflow that comes with the program: the text of its definition, as in
    /// `include_str!("my.yaml")`. It is checked when the program looks for a workflow of its name.
    pub fn workflow(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        let number = self.workflows.len() - telecine_workflows::BUILTINS.len() + 1;
        self.workflows.push(Workflow {
            file: format!("workflow {number} of this program").into(),
            text: text.into(),
        });
        self
    }

    /// Does what the command line says, and returns the exit code for `main` to return.
    ///
    /// Call it first and alone in `main`: the program is also what its child processes run, and
    /// they talk to their parent through standard input and output.
    pub fn run(self) -> ExitCode {
        let mut arguments = std::env::args_os().skip(1);
        let (word, name) = (arguments.next(), arguments.next());
        if let (Some(word), Some(name)) = (word, name)
            && word == TOOL_ARGUMENT
        {
            return self.serve_tool(&name.to_string_lossy());
        }
        let rehearses = std::env::args_os()
            .nth(1)
            .is_some_and(|word| word == REHEARSE);
        match self.build() {
            Ok(program) if rehearses => rehearsal::serve(&program.registry),
            Ok(program) => cli::run(program),
            Err(error) => {
                eprintln!("error: cannot set up the activities: {error}");
                ExitCode::from(USAGE)
            }
        }
    }

    fn serve_tool(&self, name: &str) -> ExitCode {
        match self.tools.iter().find(|(tool, _)| *tool == name) {
            Some((_, serve)) => serve(),
            None => telecine_activities::run_tool(name),
        }
    }

    fn build(self) -> Result<Program, Box<dyn std::error::Error>> {
        let host = ToolHost::serving(tool_names(&self.tools)?)?;
        let mut registry = Registry::default();
        for register in self.activities {
            register(&mut registry, &host)?;
        }
        Ok(Program {
            registry: Arc::new(registry),
            workflows: self.workflows,
        })
    }
}

/// The names of all tools, telecine's own and these.
///
/// # Errors
/// If two are called the same: the one would be started for the other.
fn tool_names(added: &[(&'static str, Serve)]) -> Result<Vec<&'static str>, String> {
    let mut names: Vec<_> = telecine_activities::tool_names().collect();
    for (name, _) in added {
        if names.contains(name) {
            return Err(format!("two tools are called {name}; rename one"));
        }
        names.push(name);
    }
    Ok(names)
}

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppBuilder")
            .field("tools", &self.tools)
            .field("workflows", &self.workflows)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::tool_names;

    #[test]
    fn two_tools_of_one_name_are_refused() {
        let serve = || std::process::ExitCode::SUCCESS;
        let own = telecine_activities::tool_names().next().unwrap();
        assert!(tool_names(&[("mine", serve), ("yours", serve)]).is_ok());
        for twice in [
            vec![("mine", serve as _), ("mine", serve as _)],
            vec![(own, serve as _)],
        ] {
            let error = tool_names(&twice).unwrap_err();
            assert!(error.contains("rename one"), "{error}");
        }
    }
}
