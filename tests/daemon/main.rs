//! Fleets of real daemons and real clients, on the loopback interface.
//!
//! Every test has a fleet of its own. Whatever needs root is skipped aloud without.

#[path = "../common/mod.rs"]
mod common;

mod absent;
mod base_replaced;
mod behind;
mod catching_up;
mod changing;
mod clocks;
mod coarse_times;
mod codes;
mod compare;
mod console;
mod console_limits;
mod counts;
mod crowd;
mod delete;
mod devices;
mod errors;
mod exit_status;
mod faults;
mod faults_attributes;
mod faults_memory;
mod faults_more;
mod fetching;
mod fetching_hostile;
mod forged;
mod garbage;
mod groups;
mod hazards;
mod heritage;
mod history;
mod hostile;
mod keys;
mod killed;
mod lacking_rights;
mod left_behind;
mod listed;
mod long_files;
mod membership;
mod messages;
mod missing;
mod mounts;
mod moves;
mod nobody_there;
mod one_name;
mod open_files;
mod options;
mod patterns;
mod process_limits;
mod redirected;
mod restless_files;
mod room;
mod secrets;
mod send;
mod staging_owner;
mod startup;
mod state_dir;
mod trail;
mod two_senders;
mod type_changes;
mod unlistable;
mod versions;
mod watching;
