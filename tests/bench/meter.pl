#!/usr/bin/perl
# Runs a command and says what it took, with all the processes that it has waited for.
#
#   perl meter.pl RESULT LIMIT COMMAND [ARGUMENT]...
#
# Writes one line to the file RESULT when the command has ended: when it began and ended (seconds by
# the monotonic clock), its CPU seconds, the KiB of memory of the largest of its processes (0 where
# the call is not known), and its exit status. After LIMIT seconds (0: no limit) the command is ended
# (status 124); a TERM or INT to this process is passed on.
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC alarm);

my ($result, $limit, @command) = @ARGV;
die "usage: meter.pl RESULT LIMIT COMMAND...\n" unless @command;

my $begun = clock_gettime(CLOCK_MONOTONIC);
my $pid   = fork // die "fork: $!\n";
if (!$pid) {
    # A group of its own, to be ended as a whole.
    setpgrp 0, 0;
    exec {$command[0]} @command or print STDERR "$command[0]: $!\n";
    exit 127;
}
my ($expired, $stopped) = (0, 0);
sub finish { $stopped = 1; kill 'TERM', -$pid, $pid }
$SIG{TERM} = $SIG{INT} = $SIG{HUP} = \&finish;
$SIG{ALRM} = sub {
    if ($expired++) { kill 'KILL', -$pid, $pid }
    else            { finish(); alarm 2 }
};
alarm $limit if $limit;
1 while waitpid($pid, 0) != $pid;
my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
# Of what was to be stopped nothing may stay, whoever ended first.
kill 'KILL', -$pid if $stopped;
my $ended  = clock_gettime(CLOCK_MONOTONIC);

# getrusage(RUSAGE_CHILDREN), by its number: CPU time, and the peak after two struct timeval.
my ($cpu, $rss) = (0, 0);
my %number = (x86_64 => 98, aarch64 => 165, riscv64 => 165);
chomp(my $machine = `uname -m`);
my (undef, undef, $user, $system) = times;
$cpu = $user + $system;
if (my $call = $number{$machine}) {
    my $usage = "\0" x 144;
    if (syscall($call, -1, $usage) == 0) {
        my @fields = unpack 'q5', $usage;
        $cpu = $fields[0] + $fields[2] + ($fields[1] + $fields[3]) / 1e6;
        $rss = $fields[4];
    }
}
open my $out, '>', "$result.new" or die "$result.new: $!\n";
printf $out "%.6f %.6f %.6f %d %d\n", $begun, $ended, $cpu, $rss, $expired ? 124 : $status;
close $out or die "$result.new: $!\n";
rename "$result.new", $result or die "$result: $!\n";
