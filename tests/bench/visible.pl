#!/usr/bin/perl
# How long a change takes until it is on all hosts, while something watches.
#
#   visible.pl LIMIT ROUNDS FILES FROM TO...
#
# In each of ROUNDS so many FILES of 1,000 bytes are written below FROM: one that is written again and
# again, or as many new ones in a new directory. Prints the median of the seconds from the last write until
# all TO have them, with their contents; status 124 after LIMIT seconds.
use strict;
use warnings;
use Time::HiRes qw(time sleep);

my ($limit, $rounds, $files, $from, @to) = @ARGV;
my @took;
for my $round (1 .. $rounds) {
    my $dir = $files == 1 ? '' : "many$round/";
    mkdir "$from/$dir" if $dir;
    my %want = map { ("$dir$_" => pack 'N250', map { int rand 2**32 } 1 .. 250) } 1 .. $files;
    for my $at (sort keys %want) {
        open my $file, '>', "$from/$at" or die "$at: $!";
        print $file $want{$at};
        close $file;
    }
    my $wrote = time;
    for my $to (@to) {
        for my $at (sort keys %want) {
            while (!is("$to/$at", $want{$at})) {
                exit 124 if time - $wrote > $limit;
                sleep 0.001;
            }
        }
    }
    push @took, time - $wrote;
    sleep($files == 1 ? 0.3 : 1);
}
@took = sort { $a <=> $b } @took;
printf "%.4f\n", $took[$#took / 2];

sub is {
    my ($at, $want) = @_;
    open my $file, '<', $at or return 0;
    read $file, my $got, 1_001;
    return $got eq $want;
}
