#!/usr/bin/perl
# Whether trees have the same names, and files and links the same contents.
#
#   perl equal.pl SOURCE TREE...
#
# Says what differs (the first of each tree, at most) and ends with 1 then. What is called .makuosan at
# the top is none of it. Reads the source once for all trees, in large pieces: diff and cmp read 4 KiB
# at a time from tmpfs.
use strict;
use warnings;
use Fcntl ':mode';

my ($source, @trees) = @ARGV;
die "usage: equal.pl SOURCE TREE...\n" unless @trees;
my %bad;

sub names {
    my ($dir, $top) = @_;
    opendir my $handle, $dir or return;
    return join "\0", sort grep { $_ ne '.' && $_ ne '..' && !($top && $_ eq '.makuosan') } readdir $handle;
}

sub differs {
    my ($tree, $path, $what) = @_;
    print "$tree$path: $what\n" unless $bad{$tree}++;
}

sub compare_files {
    my ($path) = @_;
    open my $in, '<:raw', "$source$path" or die "$source$path: $!\n";
    my @others;
    for my $tree (grep { !$bad{$_} } @trees) {
        if (open my $other, '<:raw', "$tree$path") { push @others, [$tree, $other] }
        else                                       { differs($tree, $path, $!) }
    }
    while (1) {
        my $length = sysread $in, my $wanted, 256 << 10;
        die "$source$path: $!\n" unless defined $length;
        for (@others) {
            my ($tree, $other) = @$_;
            next if $bad{$tree};
            # One byte more at the end: it may be longer.
            my $read = sysread $other, my $got, $length || 1;
            differs($tree, $path, 'other contents') if !defined $read || $got ne $wanted;
        }
        last unless $length;
    }
}

sub compare {
    my ($path) = @_;
    my @stat = lstat "$source$path" or die "$source$path: $!\n";
    for my $tree (grep { !$bad{$_} } @trees) {
        my @other = lstat "$tree$path";
        if    (!@other)                                { differs($tree, $path, 'not there') }
        elsif (S_IFMT($stat[2]) != S_IFMT($other[2])) { differs($tree, $path, 'another kind') }
        elsif (S_ISREG($stat[2]) && $stat[7] != $other[7]) { differs($tree, $path, 'another size') }
        elsif (S_ISLNK($stat[2]) && readlink("$source$path") ne readlink("$tree$path")) { differs($tree, $path, 'another link') }
    }
    if (S_ISDIR($stat[2])) {
        my $wanted = names("$source$path", $path eq '') // die "$source$path: $!\n";
        for my $tree (grep { !$bad{$_} } @trees) {
            my $got = names("$tree$path", $path eq '');
            differs($tree, $path, 'other names') if !defined $got || $got ne $wanted;
        }
        compare("$path/$_") for split /\0/, $wanted;
    }
    elsif (S_ISREG($stat[2])) { compare_files($path) }
}

compare('');
exit(%bad ? 1 : 0);
