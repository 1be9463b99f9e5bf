# Drives the clients for bench/clients/run: starts them, freezes, asks each to do
# something, thaws, and prints what they said.

use strict;
use warnings;

use IO::Handle;
use IO::Select;
use IPC::Open2;
use POSIX ();
use Time::HiRes qw(time sleep);

$| = 1;
$SIG{PIPE} = 'IGNORE';

our %port = (direct => $ENV{PORT}, transaction => $ENV{TRANSACTION_PORT}, session => $ENV{SESSION_PORT});
our @clients = split ' ', $ENV{CLIENTS};
our @ways = grep { $port{$_} } qw(direct transaction session);
my $patience = 5;				# s until something is said to wait
my $hold = 5;					# s from a freeze that ends sessions to the thaw, at least

# name, database where it is made, statement, "plain" for the server without preload
my @freezes = (
	[ 'gate wait', 'bench', q{freeze_role('app', strategy => 'gate')} ],
	[ 'gate reject', 'bench', q{freeze_role('app', strategy => 'gate', action => 'reject')} ],
	[ 'gate all wait', 'bench', q{freeze_role('app', strategy => 'gate', mode => 'all')} ],
	[ 'gate all reject', 'bench', q{freeze_role('app', strategy => 'gate', mode => 'all', action => 'reject')} ],
	[ 'revoke', 'bench', q{freeze_role('app', strategy => 'revoke')} ],
	[ 'lock', 'bench', q{freeze_role('app', strategy => 'lock')} ],
	[ 'read_only', 'bench', q{freeze_role('app', strategy => 'read_only')} ],
	[ 'disconnect role', 'bench', q{freeze_role('app', strategy => 'disconnect', mode => 'all')} ],
	[ 'disconnect database', 'postgres', q{freeze_database('bench', strategy => 'disconnect', mode => 'all')} ],
	[ 'disconnect role, not preloaded', 'bench', q{freeze_role('app', strategy => 'disconnect', mode => 'all')}, 'plain' ],
	[ 'disconnect database, not preloaded', 'postgres', q{freeze_database('bench', strategy => 'disconnect', mode => 'all')}, 'plain' ],
);

sub our_freezes { return @freezes; }

open my $results, '>>', "$ENV{WORK}/results" or die $!;
$results->autoflush(1);

# ---- SQL -------------------------------------------------------------------

sub sql
{
	my ($port, $database, $statement) = @_;
	my $pid = open(my $out, '-|') // die $!;

	if ($pid == 0)
	{
		open STDERR, '>&', \*STDOUT;
		exec "$ENV{BINDIR}/psql", '-XAtq', '-U', 'postgres', '-p', $port, '-d', $database,
		  '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-c', $statement;
	}
	my $said = do { local $/; <$out> } // '';
	close $out;
	die "$statement: $said" if $? != 0;
	return $said;
}

# freeze, and its id
sub freeze
{
	my ($freeze, $more) = @_;
	my ($name, $database, $call, $plain) = @$freeze;
	my $port = $plain ? $ENV{PORT2} : $ENV{PORT};

	$call =~ s/\)$/, $more)/ if $more;
	my ($id) = sql($port, $database, "SELECT $call") =~ /^(\d+)$/m or die "no id from $call";
	return { port => $port, database => $database, id => $id };
}

sub thaw
{
	my ($frozen) = @_;
	sql($frozen->{port}, $frozen->{database}, "SELECT thaw($frozen->{id})");
	return;
}

sub bouncer
{
	my ($way, $command) = @_;
	return sql($port{$way}, 'pgbouncer', $command);
}

# ---- clients ---------------------------------------------------------------

# a connection string in the client's own words
sub address
{
	my ($client, $port, $database) = @_;

	return "jdbc:postgresql://127.0.0.1:$port/$database?user=app&prepareThreshold=0" if $client eq 'hikari';
	return "postgres://app\@127.0.0.1:$port/$database" if $client eq 'node';
	return "host=127.0.0.1 port=$port dbname=$database user=app";
}

# starts a client; "words" go to its command line, "address" is another place
sub start
{
	my ($client, $way, %opt) = @_;
	my $here = $opt{plain} ? ($way eq 'direct' ? $ENV{PORT2} : $port{$way}) : $port{$way};
	my $database = $opt{plain} && $way ne 'direct' ? 'plain' : 'bench';
	my $address = $opt{address} // address($client, $here, $database);
	my @command =
	    $client eq 'hikari' ? ('java', '-Xshare:auto', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', "-Dhikari.version=$ENV{HIKARI_VERSION}", '-cp', $ENV{JAVA_CLASSPATH}, 'Client', $address)
	  : $client eq 'node' ? ('node', 'bench/clients/client.js', $address)
	  : ($ENV{PYTHON}, 'bench/clients/client.py', $client, $address);
	my %c = (name => $client);

	open my $said, '>>', "$ENV{WORK}/clients.log" or die $!;
	local *OLD;
	open OLD, '>&', \*STDERR;
	open STDERR, '>&', $said;
	local @ENV{keys %{ $opt{env} || {} }} = values %{ $opt{env} || {} };
	$c{pid} = open2($c{from}, $c{to}, @command, @{ $opt{words} || [] });
	open STDERR, '>&', \*OLD;
	$c{to}->autoflush(1);
	$c{buffer} = '';
	return \%c;
}

sub order
{
	my ($c, $command) = @_;

	# what it has still to say belongs to an earlier question
	answer($c, 150) if $c->{busy};
	return if $c->{gone};
	$c->{asked} = time;
	$c->{busy} = 1;
	print { $c->{to} } "$command\n";
	return;
}

# What it answered: { ok, ms, state, class, text, took }, or undef where it hasn't
# within "patience" seconds
sub answer
{
	my ($c, $patience) = @_;
	my $end = time + $patience;

	while ($c->{buffer} !~ /\n/)
	{
		my $left = $end - time;
		return undef if $left <= 0 || !IO::Select->new($c->{from})->can_read($left);
		if (!sysread($c->{from}, $c->{buffer}, 65536, length $c->{buffer}))
		{
			waitpid $c->{pid}, 0;
			$c->{gone} = 1;
			$c->{busy} = 0;
			no warnings 'io';
			close $c->{to};
			return { ok => 0, state => '-', class => 'process', text => 'ended with status ' . ($? >> 8), ms => 0, took => time - $c->{asked} };
		}
	}
	$c->{buffer} =~ s/^([^\n]*)\n//;
	$c->{busy} = 0;
	my ($how, $ms, @rest) = split /\t/, $1, -1;
	my %a = (ok => $how eq 'ok', ms => $ms, took => time - $c->{asked});
	@a{ $a{ok} ? qw(text errors) : qw(state class text) } = @rest;
	($a{errors}, $a{last}) = ($rest[0], $rest[1]) if $a{ok};
	return \%a;
}

sub ask
{
	my ($c, $command, $patience) = @_;

	order($c, $command) unless $c->{gone};
	return { ok => 0, state => '-', class => 'process', text => 'is gone', ms => 0, took => 0 } if $c->{gone};
	return answer($c, $patience // 60);
}

sub must
{
	my ($c, $command) = @_;
	my $a = ask($c, $command);

	die "$c->{name}: $command: " . said($a) if !$a || !$a->{ok};
	return $a;
}

sub finish
{
	foreach my $c (@_)
	{
		next if $c->{gone};
		order($c, 'quit') unless $c->{busy};
		kill 'KILL', $c->{pid} if $c->{busy} && !IO::Select->new($c->{from})->can_read(2);
		close $c->{to};
		waitpid $c->{pid}, 0;
	}
	return;
}

sub said
{
	my ($a) = @_;

	return 'waits' unless $a;
	return "ok, $a->{ms} ms" if $a->{ok};
	return "$a->{state} $a->{class}: $a->{text} ($a->{ms} ms)";
}

sub note
{
	my (@what) = @_;
	print $results join("\t", @what), "\n";
	return;
}

# ---- matrix ----------------------------------------------------------------

# Three of one client: one has a pool and writes, one has a pool and reads, one connects.
sub scenario
{
	my ($client, $way, $freeze) = @_;
	my %opt = (plain => $freeze->[3]);
	my ($writer, $reader, $comer) = map { start($client, $way, %opt) } 1 .. 3;
	my (%got, %later);

	foreach my $c ($writer, $reader)
	{
		must($c, 'pool');
		must($c, 'write');
		must($c, 'read');
	}
	must($comer, 'connect');
	sleep 1;					# the application idles

	my $frozen = eval { freeze($freeze) };
	if (!$frozen)
	{
		my $why = $@ =~ s/\n.*//sr;
		finish($writer, $reader, $comer);
		return { refused => $why };
	}
	my $since = time;
	order($reader, 'read');
	order($comer, 'connect');
	$got{write} = ask($writer, 'hold', $patience);
	$later{write} = 'hold' unless $got{write};
	if ($got{write} && $got{write}{ok})
	{
		$got{write} = ask($writer, 'on write', $patience);
		if ($got{write})
		{
			$got{same} = ask($writer, 'on read', $patience) unless $writer->{gone};
			ask($writer, 'release', $patience) unless $writer->{gone};
		}
		else
		{
			$later{write} = 'on write';
		}
	}
	$got{again} = ask($writer, 'write', $patience) if $got{write};
	$later{again} = 1 if $got{write} && !$got{again};
	$got{read} = answer($reader, 0.5);
	$got{connect} = answer($comer, 0.5);
	sleep 0.05 while time < $since + ($freeze->[0] =~ m{read_only|disconnect} ? $hold : 1);

	my $thawing = time;
	thaw($frozen);
	# by its own clock, because its answer may have been there for a while
	my $after = sub { my ($a) = @_; return $a ? $writer->{asked} + $a->{ms} / 1000 - $thawing : 60 };
	if ($later{write})
	{
		$got{write_thawed} = answer($writer, 60);
		$got{write_after} = $after->($got{write_thawed});
		ask($writer, 'release') if $got{write_thawed} && $got{write_thawed}{ok};
	}
	elsif ($later{again})
	{
		$got{again_thawed} = answer($writer, 60);
		$got{again_after} = $after->($got{again_thawed});
	}
	$got{until} = ask($writer, 'until 60', 90);
	$got{read_thawed} = answer($reader, 60) unless $got{read};
	$got{connect_thawed} = answer($comer, 150) unless $got{connect};
	$got{events} = ask($writer, 'events') if $client eq 'node' && !$writer->{gone};
	finish($writer, $reader, $comer);
	foreach my $step (sort keys %got)
	{
		note('matrix', $client, $way, $freeze->[0], $step, ref $got{$step} ? said($got{$step}) : defined $got{$step} ? sprintf('%.0f ms', 1000 * $got{$step}) : 'waits');
	}
	return \%got;
}

# one who is in the middle of a transaction, and is ended
sub ended
{
	my ($client, $way) = @_;
	my ($freeze) = grep { $_->[0] eq 'disconnect role' } @freezes;
	my $c = start($client, $way);

	must($c, $_) foreach 'pool', 'hold', 'in write';
	my $frozen = freeze($freeze, q{drain_timeout => '0', on_drain_timeout => 'terminate'});
	my $next = ask($c, 'on read', $patience);
	ask($c, 'release', $patience);
	thaw($frozen);
	my $until = ask($c, 'until 60', 90);
	finish($c);
	return ($next, $until);
}

sub short
{
	my ($a) = @_;

	return '-' if !defined $a;
	return 'ok' if $a->{ok};
	(my $class = $a->{class}) =~ s/^(psycopg2?|psycopg_pool)\.//;
	return "$a->{state} $class: $a->{text}";
}

sub matrix
{
	my (@words) = @_;
	my %word = map { $_ => 1 } @words;
	my $chosen = sub { my @of = @_; my @picked = grep { $word{$_} } @of; return @picked ? @picked : @of };
	my @picked_freezes = grep { my $f = $_->[0]; !grep({ my $w = $_; grep { $_->[0] =~ /^\Q$w\E/ } @freezes } keys %word) || grep { $f =~ /^\Q$_\E/ } keys %word } @freezes;

	foreach my $freeze (@picked_freezes)
	{
		print "\n### $freeze->[0]\n\n";
		print "| client | way | write | same connection, a read | next write | read | new connection | after the thaw |\n|---|---|---|---|---|---|---|---|\n";
		foreach my $client ($chosen->(@clients))
		{
			# only the server's words differ without preload
			foreach my $way ($freeze->[3] && !$word{all} ? 'direct' : $chosen->(@ways))
			{
				my $got = scenario($client, $way, $freeze);
				if ($got->{refused})
				{
					print "not frozen: $got->{refused}\n";
					last;
				}
				my $cell = sub {
					my ($step) = @_;
					return short($got->{$step}) if defined $got->{$step};
					return '' if !exists $got->{$step};
					my $later = $got->{"${step}_thawed"};
					return 'waits' . ($later ? $later->{ok} ? ', then ok' : ', then ' . short($later) : '');
				};
				my $until = $got->{until};
				my $after = $until->{ok} ? sprintf('%s ms, %d errors%s', $until->{ms}, $until->{errors}, $until->{errors} ? " ($until->{last})" : '') : short($until);
				$after = sprintf('waiter after %.0f ms; ', 1000 * $got->{write_after}) . $after if defined $got->{write_after};
				$after = sprintf('waiter after %.0f ms; ', 1000 * $got->{again_after}) . $after if defined $got->{again_after};
				$after .= "; $got->{events}{text} 'error' events" if $got->{events};
				print '| ', join(' | ', $client, $way, map({ $cell->($_) } qw(write same again read connect)), $after), " |\n";
			}
		}
	}

	return if %word && !$word{ended};
	print "\n### in a transaction, ended by the drain\n\n| client | way | next statement | after the thaw |\n|---|---|---|---|\n";
	foreach my $client ($chosen->(@clients))
	{
		foreach my $way ($chosen->(@ways))
		{
			my ($next, $until) = eval { ended($client, $way) };
			if ($@)
			{
				print "| $client | $way | not run: ", $@ =~ s/\n.*//sr, " | |\n";
				next;
			}
			print "| $client | $way | ", short($next), ' | ', $until->{ok} ? "$until->{ms} ms, $until->{errors} errors" : short($until), " |\n";
		}
	}
	return;
}

# ---- main ------------------------------------------------------------------

our %part = (matrix => \&matrix);
require './bench/clients/experiments.pl';

print "clients: ", join('; ', map { my $c = start($_, 'direct'); my $v = must($c, 'version')->{text}; finish($c); $v } @clients), "\n";
my @parts = grep { $part{$_} } @ARGV;
my @words = grep { !$part{$_} } @ARGV;
@parts = @words ? ('matrix') : sort keys %part unless @parts;
$part{$_}->(@words) foreach @parts;
