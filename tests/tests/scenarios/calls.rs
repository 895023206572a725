//! SIP without a gateway in the CGN: two user agents behind one address, a registrar outside that sends
//! where a registration came from (RFC 3581), and media by what STUN tells. The agents are baresip's; the registrar is a model of our own (`registrar.py`).

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cgn_tests::lab::{Daemon, Lab, Namespace, Process, XdpPass, address, run_to_end, stun_server};
use cgn_tests::skip::{lacks_program, python_with};

use crate::{
    FIRST, PATIENCE_SECS, PROGRAM_SECS, SECOND, SHARED, STUN_SERVER, keep_apart, one_address,
    script, with_two_households,
};

const REGISTRAR: Ipv4Addr = address::SERVERS[0];
/// Where Debian has the modules of baresip.
const MODULES: &str = "/usr/lib/baresip/modules";
/// Samples a second of the tone that each plays, and how long it is.
const RATE: u32 = 8000;
const TONE_SECS: u32 = 20;
/// Long enough for the first reports of RTCP (RFC 3550 section 6.2).
const CALL_SECS: u32 = 9;
/// A packet of voice is 20 ms.
const PACKETS_A_SECOND: u32 = 50;

#[test]
fn two_behind_one_address_call_each_other() {
    let name = "calls::two_behind_one_address_call_each_other";
    let Some(python) = python_with(name, "socket") else {
        return;
    };
    if lacks_program(name, "baresip") || lacks_program(name, "turnserver") {
        return;
    }
    with_two_households(name, |lab| {
        keep_apart(lab)?;
        let _pass = XdpPass::attach(&lab.access, "uplink")?;
        let _daemon = Daemon::start(lab, &one_address())?;
        let _stun = stun_server(lab, &[*STUN_SERVER.ip()])?;
        let script = script(lab, "registrar.py", include_str!("registrar.py"))?;
        let mut command = lab.internet.command(&python);
        command.arg(&script).arg(REGISTRAR.to_string());
        let log = lab.folder().join("registrar.log");
        let mut registrar = Process::start("registrar", &mut command, &log)?;
        registrar.wait_for_output("listening", PATIENCE_SECS)?;
        let callee = "bob";
        let mut answering = agent(lab, &lab.subscribers[1], (callee, SECOND), "auto")?;
        let log = lab.folder().join("bob.log");
        let mut answering = Process::start(callee, &mut answering, &log)?;
        answering.wait_for_output("[1 binding]", PATIENCE_SECS)?;
        let bound = registrar.output();
        ensure!(
            bound.contains(&format!("bound {callee} {SHARED}")),
            "{bound}"
        );
        let mut calling = agent(lab, &lab.subscribers[0], ("alice", FIRST), "manual")?;
        calling.args(["-t", &CALL_SECS.to_string()]);
        calling.args(["-e", &format!("/dial sip:{callee}@{REGISTRAR}")]);
        let said = run_to_end(&mut calling, PROGRAM_SECS)?;
        ensure!(said.contains("Call established"), "{said}");
        answering.wait_for_output("EX=BareSip;", PATIENCE_SECS)?;
        let report = Report::read(&answering.output())?;
        println!("the callee reports {report:?}");
        ensure!(
            report.lost == "0,0" && report.heard.min(report.sent) > PACKETS_A_SECOND,
            "{report:?}"
        );
        ensure!(
            report.remote.starts_with(&SHARED.to_string()),
            "media went another way: {report:?}"
        );
        Ok(())
    });
}

/// What the callee's RTCP says of a call (draft-johnston-sipping-rtcp-summary).
#[derive(Debug)]
struct Report {
    heard: u32,
    sent: u32,
    /// Outwards and inwards.
    lost: String,
    /// Where the caller's voice comes from.
    remote: String,
}

impl Report {
    fn read(said: &str) -> Result<Self> {
        let line = said.lines().find(|line| line.contains("EX=BareSip;"));
        let line = line.context("no report")?;
        let value = |name: &str| {
            let mut fields = line.split(';');
            let field = fields.find_map(|field| field.strip_prefix(name));
            field.with_context(|| format!("no {name} in {line}"))
        };
        let ends = value("IP=")?.split_once(',').context("two ends")?;
        Ok(Self {
            heard: value("PR=")?.parse()?,
            sent: value("PS=")?.parse()?,
            lost: value("PL=")?.to_owned(),
            remote: ends.1.to_owned(),
        })
    }
}

/// Writes what a user agent is told, and what it says in a call; returns the command that starts it.
fn agent(
    lab: &Lab,
    host: &Namespace,
    (name, address): (&str, Ipv4Addr),
    answer: &str,
) -> Result<Command> {
    let folder = lab.folder().join(name);
    fs::create_dir(&folder)?;
    let at = folder.display();
    let config = format!(
        "sip_listen {address}:5060\nmodule_path {MODULES}\n\
         audio_source aufile,{at}/tone.wav\naudio_player aufile,{at}/heard.wav\n\
         audio_alert aufile,{at}/ring.wav\n\
         module g711.so\nmodule aufile.so\nmodule stun.so\n\
         module_app account.so\nmodule_app menu.so\nmodule_app rtcpsummary.so\n"
    );
    let account = format!(
        "<sip:{name}@{REGISTRAR};transport=udp>;auth_pass=none;regint=3600;answermode={answer};\
         medianat=stun;stunserver=\"stun:{STUN_SERVER}\"\n"
    );
    fs::write(folder.join("config"), config)?;
    fs::write(folder.join("accounts"), account)?;
    fs::write(folder.join("contacts"), "")?;
    fs::write(folder.join("tone.wav"), tone())?;
    let mut command = host.command("baresip");
    command.args(["-4", "-s", "-f"]).arg(&folder);
    Ok(command)
}

/// A square wave of 400 Hz: RIFF, 16 bits, one channel.
fn tone() -> Vec<u8> {
    let samples = RATE * TONE_SECS;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + samples * 2).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([1, 0, 1, 0]);
    file.extend(RATE.to_le_bytes());
    file.extend((RATE * 2).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend((samples * 2).to_le_bytes());
    for at in 0..samples {
        let sample: i16 = if at / 10 % 2 == 0 { 8000 } else { -8000 };
        file.extend(sample.to_le_bytes());
    }
    file
}
