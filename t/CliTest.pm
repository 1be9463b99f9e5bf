# What the tests of the program pg_freeze share: running it, in the foreground
# and in the background, and a COMMAND for it that waits to be let go.

package CliTest;

use strict;
use warnings;

use Exporter 'import';
use File::Spec ();
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(cli start_cli finish_cli status_is finished ended waiting_command await_file let_go polled cli_on_terminal from_json);

# installcheck puts the server's own folder first, where another version may be
$ENV{PATH} = "$ENV{PG_FREEZE_BINDIR}:$ENV{PATH}" if $ENV{PG_FREEZE_BINDIR};

# (status, stdout, stderr) of pg_freeze COMMAND ARGUMENT..., connected to
# "node" (undef: to nowhere).  Options come first, as a hash: db, user, env,
# stdout (a file instead of what is returned), closed (numbers of files), connect
# (a connection string instead of the node's).  The status is 128 + signal if one ended it.
sub cli
{
	my ($node, @arguments) = @_;
	return finish_cli(start_cli($node, @arguments));
}

# The same in the background: its pid is {pid}.
sub start_cli
{
	my ($node, @arguments) = @_;
	my %opt = ref $arguments[0] eq 'HASH' ? %{ shift @arguments } : ();
	my $dir = PostgreSQL::Test::Utils::tempdir('pg_freeze_cli');
	my ($command, @rest) = @arguments;
	my @connect;

	push @connect, '-d', $opt{connect} || $node->connstr($opt{db} || 'postgres') if $node || $opt{connect};
	push @connect, '-U', $opt{user} if $opt{user};
	my %run = (out => $opt{stdout} || "$dir/out", err => "$dir/err");
	append_to_file($run{err}, '');
	$run{pid} = fork;
	die "fork: $!" unless defined $run{pid};
	if ($run{pid} == 0)
	{
		open STDIN, '<', File::Spec->devnull;
		open STDOUT, '>', $run{out};
		open STDERR, '>', $run{err};
		delete $ENV{PGAPPNAME};
		$ENV{$_} = $opt{env}{$_} foreach keys %{ $opt{env} || {} };
		POSIX::close($_) foreach @{ $opt{closed} || [] };
		exec 'pg_freeze', $command, @connect, @rest or POSIX::_exit(99);
	}
	return \%run;
}

# Whether it has ended.
sub ended
{
	my ($run) = @_;

	return 1 if defined $run->{status};
	return 0 if waitpid($run->{pid}, POSIX::WNOHANG()) != $run->{pid};
	$run->{status} = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	return 1;
}

sub finish_cli
{
	my ($run) = @_;

	unless (polled(sub { ended($run) }))
	{
		kill 'KILL', $run->{pid};
		diag('pg_freeze did not end: ' . slurp_file($run->{err}));
		polled(sub { ended($run) });
	}
	my ($out, $err) = (-f $run->{out} ? slurp_file($run->{out}) : '', slurp_file($run->{err}));
	chomp $out;
	return ($run->{status}, $out, $err);
}

sub status_of
{
	my ($expected, $what, $status, $out, $err) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 2;

	is($status, $expected, $what) || diag("stdout: $out\nstderr: $err");
	return ($out, $err);
}

# Runs pg_freeze as cli() does, or waits for one that start_cli() started, and
# tests its status: (stdout, stderr).
sub status_is { my ($expected, $what, @arguments) = @_; return status_of($expected, $what, cli(@arguments)); }
sub finished { my ($run, $expected, $what) = @_; return status_of($expected, $what, finish_cli($run)); }

# Polls until a condition is true; false if it never is.
sub polled
{
	my ($condition, $seconds) = @_;
	my $end = time + ($seconds || $PostgreSQL::Test::Utils::timeout_default);

	while (time < $end)
	{
		return 1 if $condition->();
		usleep(20_000);
	}
	return 0;
}

# (a COMMAND that ends with "status" when it is let go, the name of its files).
# Once it runs the file is there; what it was told is in it.
sub waiting_command
{
	my ($status, $trap) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir('pg_freeze_command') . '/command';

	$trap //= '';
	return ([ 'sh', '-c', "$trap env >$file.new; mv $file.new $file; while [ ! -e $file.go ]; do sleep 0.02; done; exit $status" ], $file);
}

sub await_file
{
	my ($file, $run) = @_;

	polled(sub { -e $file || ($run && ended($run)) });
	return if -e $file;
	die 'COMMAND was not run: ' . ($run ? slurp_file($run->{err}) : '');
}

sub let_go
{
	my ($file) = @_;

	append_to_file("$file.go", '');
	return;
}

# What it prints on a terminal of so many columns; undef where there is none.
sub cli_on_terminal
{
	my ($node, $columns, $command, @arguments) = @_;
	my $out = '';

	return undef unless eval { require IO::Pty; local $SIG{__WARN__} = sub { }; IO::Pty->new };
	local $ENV{COLUMNS} = $columns;
	IPC::Run::run([ 'pg_freeze', $command, '-d', $node->connstr('postgres'), @arguments ], '<pty<', \undef, '>pty>', \$out,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $out =~ s/\r\n/\n/gr;
}

sub from_json { return JSON::PP->new->utf8->decode($_[0]); }

1;
