//! `cgn-bench rfc9693`.

use anyhow::{Result, ensure};
use cgn_tests::bench::processor;
use cgn_tests::bench::rfc9693::traffic::Direction;
use cgn_tests::bench::rfc9693::{self, FULL, LADDER, Options, report};
use cgn_tests::bench::rig::frame_size::FrameSize;

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Numbers of sessions: those of a subscriber times a power of two
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "64512,1032192"
    )]
    sessions: Vec<u64>,
    /// FD.io's ladder: 64512, 258048, 1032192, 4128768 and 16515072 sessions
    #[arg(long, conflicts_with = "sessions")]
    ladder: bool,
    /// Sessions of a subscriber, by FD.io's grid: 63, 126, 252, 504, 1008, 2016 or 4032; every size is measured
    /// with each of these
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "63"
    )]
    per_host: Vec<u64>,
    /// Also draw rates over sessions into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<std::path::PathBuf>,
    /// Steps of each search for the highest rate
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=20))]
    steps: u32,
    /// Seconds of a trial with known sessions
    #[arg(long, default_value_t = 1.0)]
    secs: f64,
    /// Times that each search is made, and each latency and loss measured
    #[arg(long, default_value_t = 1)]
    repeats: usize,
    /// Trials of 60 seconds and 20 repetitions, as the RFCs ask: 2.3 hours for a size, a direction and a length of
    /// frames, so a night for a size
    #[arg(long, conflicts_with_all = ["secs", "repeats"])]
    full: bool,
    /// Directions of throughput: forward (from inside), reverse, both (at once, with the same rate each)
    #[arg(
        long,
        value_name = "WAY,...",
        value_delimiter = ',',
        default_value = "forward,reverse,both"
    )]
    directions: Vec<Direction>,
    /// Bytes of frames without checksum, for throughput; `imix`: of 12 frames 7 of 64 bytes, 4 of 570 and
    /// 1 of 1518, with checksum
    #[arg(
        long,
        value_name = "N|imix,...",
        value_delimiter = ',',
        default_value = "60,imix"
    )]
    frame_bytes: Vec<FrameSize>,
    /// Also measure the loss at 100 %, 90 %, ... of the highest rate that the generator offers, until two rates
    /// have none
    #[arg(long)]
    loss_curve: bool,
    /// Share of the frames that a trial may lose (the RFC: none)
    #[arg(long, default_value_t = 0.0)]
    most_loss: f64,
    /// 1: generator and device under test share a processor, in lock-step, so that nothing else on
    /// the machine makes it lose frames; 2: each has one of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    processors: u8,
}

pub fn run(args: &Args) -> Result<()> {
    crate::as_root("rfc9693")?;
    let options = options(args, processor::count()? - 1)?;
    let figures = rfc9693::measure(&options, |what| eprintln!("    {what}"))?;
    let title = "RFC 9693: connections and frames of known sessions";
    crate::draw(args.svg.as_deref(), title, "M/s", report::points(&figures))?;
    match args.json {
        true => println!("{:#}", report::json(&options, &figures)),
        false => print!("{}", report::table(&options, &figures)),
    }
    Ok(())
}

/// What is asked for, on a machine whose last processor is `last`.
fn options(args: &Args, last: usize) -> Result<Options> {
    let (secs, repeats) = match args.full {
        true => FULL,
        false => (args.secs, args.repeats),
    };
    ensure!(secs > 0.0, "--secs must be more than 0");
    Ok(Options {
        sessions: match args.ladder {
            true => LADDER.to_vec(),
            false => args.sessions.clone(),
        },
        per_host: args.per_host.clone(),
        steps: args.steps,
        secs,
        repeats,
        directions: args.directions.clone(),
        frames: args.frame_bytes.clone(),
        loss_curve: args.loss_curve,
        most_loss: args.most_loss,
        cpus: match args.processors {
            1 => (last, last),
            _ => (0, last),
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    /// What these words ask for; None: they are refused.
    fn asked(words: &str) -> Option<Options> {
        let words = std::iter::once("rfc9693").chain(words.split_whitespace());
        let command = Command::try_parse_from(words).ok()?;
        options(&command.args, 3).ok()
    }

    #[test]
    fn without_options_it_is_short_and_has_both_directions_and_the_mix() {
        let options = asked("").expect("the defaults");
        assert_eq!((options.secs, options.repeats), (1.0, 1));
        assert_eq!(
            (options.sessions, options.per_host),
            (vec![64_512, 1_032_192], vec![63])
        );
        let all = [Direction::Forward, Direction::Reverse, Direction::Both];
        assert_eq!(options.directions, all);
        assert_eq!(options.frames, [FrameSize::SHORTEST, FrameSize::Imix]);
        assert!(!options.loss_curve);
    }

    #[test]
    fn full_is_what_the_rfcs_ask_for() {
        let options = asked("--full --directions both").expect("in order");
        assert_eq!((options.secs, options.repeats), (60.0, 20));
        assert_eq!(options.directions, [Direction::Both]);
    }

    #[test]
    fn the_ladder_has_five_sizes_with_each_density() {
        let options = asked("--ladder --per-host 63,1008 --loss-curve").expect("in order");
        assert_eq!(options.sessions, LADDER);
        assert_eq!(options.per_host, [63, 1008]);
        assert!(options.loss_curve);
    }

    #[test]
    fn lengths_of_frames_are_a_list() {
        let options = asked("--frame-bytes 60,124,imix,1514").expect("in order");
        let wanted = [
            FrameSize::Bytes(60),
            FrameSize::Bytes(124),
            FrameSize::Imix,
            FrameSize::Bytes(1514),
        ];
        assert_eq!(options.frames, wanted);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let cases = [
            ("the RFC's seconds, or others", "--full --secs 2"),
            ("the RFC's repetitions, or others", "--full --repeats 3"),
            ("the ladder, or other sizes", "--ladder --sessions 1008"),
            ("a trial takes time", "--secs 0"),
            ("a frame too short", "--frame-bytes 42"),
            ("no direction", "--directions up"),
        ];
        for (sentence, words) in cases {
            assert!(asked(words).is_none(), "{sentence}: {words}");
        }
    }
}
