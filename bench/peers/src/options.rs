//! What the command line says.

/// How to call the program.
pub const USAGE: &str = "\
usage: kontiki-peers [--repeats N] [--millis N] [--only NAME] [--size BYTES] [--batch N]
  --repeats  interleaved repeats of each measurement (5)
  --millis   processor time of one measurement (300)
  --only     the system of that name, or all whose names begin so
  --size     payloads of 16 or 256 bytes only
  --batch    batches of 1, 16 or 256 proposals only";

/// See [`USAGE`].
#[derive(Debug)]
pub struct Options {
    /// Interleaved repeats of each measurement.
    pub repeats: usize,
    /// Processor time of one measurement.
    pub millis: u64,
    /// The beginning of the names of the systems to measure.
    pub only: Option<String>,
    /// The only size of payload to measure.
    pub size: Option<usize>,
    /// The only batch to measure.
    pub batch: Option<usize>,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Says which argument is not understood.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { repeats: 5, millis: 300, only: None, size: None, batch: None };
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<usize>().map_err(|error| format!("{name}: {error}"));
            match name.as_str() {
                "--repeats" => options.repeats = number()?.max(1),
                "--millis" => options.millis = number()? as u64,
                "--only" => options.only = Some(value),
                "--size" => options.size = Some(number()?),
                "--batch" => options.batch = Some(number()?),
                _ => return Err(format!("unknown: {name}")),
            }
        }
        Ok(options)
    }
}
