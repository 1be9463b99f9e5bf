# The parts of bench/clients/run beside the matrix: what settings of the poolers,
# of the clients' pools and of connection strings change.  Read by drive.pl.

use strict;
use warnings;
use Time::HiRes qw(time sleep);

our (@clients, @ways, %port, %part);

my %freeze = map { $_->[0] => $_ } our_freezes();

sub line
{
	my ($what, $measured) = @_;

	note('experiment', $what, $measured);
	print "| $what | $measured |\n";
	return;
}

sub table
{
	my ($title) = @_;
	print "\n### $title\n\n| what | measured |\n|---|---|\n";
	return;
}

# the first of these clients that is there
sub one_of
{
	my (@names) = @_;
	my %there = map { $_ => 1 } @clients;
	my ($name) = grep { $there{$_} } @names;
	return $name;
}

# a client with a pool that has worked
sub working
{
	my ($client, $way, %opt) = @_;
	my $c = start($client, $way, %opt);

	must($c, $_) foreach 'pool', 'write', 'write';
	sleep 1;
	return $c;
}

sub went_on
{
	my ($until) = @_;

	return short($until) unless $until->{ok};
	return "goes on after $until->{ms} ms" . ($until->{errors} ? ", $until->{errors} errors: $until->{last}" : ', no error');
}

# a write in the middle of a freeze; what it saw, and how it goes on
sub during
{
	my ($client, $way, $freeze, %opt) = @_;
	my $c = working($client, $way, %opt);

	$opt{before}->($c) if $opt{before};
	my $frozen = freeze($freeze);
	order($c, 'write');
	my $seen = answer($c, $opt{patience} // $opt{hold} // 5);
	my $rest = ($opt{hold} // 5) - ($seen ? $seen->{took} : 0);
	# an application tries again and again
	while ($seen && $rest > 0)
	{
		my $again = time;
		last unless ask($c, 'write', $rest);
		sleep 0.2;
		$rest -= time - $again;
	}
	my $thawing = time;
	thaw($frozen);
	$opt{thawed}->($c) if $opt{thawed};
	my $waited = $seen ? undef : answer($c, 150);
	my $late = $seen ? '' : 'waits' . ($waited ? $waited->{ok} ? sprintf(', and is done %.0f ms after the thaw', 1000 * ($c->{asked} + $waited->{ms} / 1000 - $thawing)) : ', then ' . short($waited) : '');
	my $until = ask($c, 'until 60', 90);
	$opt{end}->($c) if $opt{end};
	finish($c);
	return ($seen ? short($seen) : $late) . '; ' . went_on($until);
}

# ---- poolers -----------------------------------------------------------------

sub poolers
{
	my $client = one_of(qw(psycopg2 psycopg node hikari));

	return unless grep { $_ eq 'transaction' } @ways;
	foreach my $way ('transaction', 'session')
	{
		table("PgBouncer, $way pooling ($client)");
		foreach my $retry (15, 1)
		{
			bouncer($way, "SET server_login_retry = $retry");
			line("server_login_retry = $retry, disconnect of the role", during($client, $way, $freeze{'disconnect role'}));
		}
		bouncer($way, 'SET server_login_retry = 15');
		line("$_ bench after the thaw, disconnect of the role", do { my $command = $_; during($client, $way, $freeze{'disconnect role'}, thawed => sub { bouncer($way, "$command bench") }) })
		  foreach 'RECONNECT';
		line('KILL bench, RESUME bench after the thaw, disconnect of the role',
			during($client, $way, $freeze{'disconnect role'}, thawed => sub { bouncer($way, 'KILL bench'); bouncer($way, 'RESUME bench') }));
		line('RELOAD after the thaw, disconnect of the role', during($client, $way, $freeze{'disconnect role'}, thawed => sub { bouncer($way, 'RELOAD') }));

		bouncer($way, 'SET query_wait_timeout = 2');
		line('query_wait_timeout = 2, disconnect of the role', during($client, $way, $freeze{'disconnect role'}, hold => 6));
		bouncer($way, 'SET query_wait_timeout = 120');

		# not while somebody is linked to a server session, as in session pooling each client is
		if ($way eq 'transaction')
		{
			foreach my $name ('disconnect role', 'read_only')
			{
				line("PAUSE bench before the freeze, RESUME bench after the thaw, $name",
					during($client, $way, $freeze{$name}, before => sub { bouncer($way, 'PAUSE bench') }, thawed => sub { bouncer($way, 'RESUME bench') }, hold => 3));
			}
		}
		foreach my $fast (0, 1)
		{
			bouncer($way, "SET server_fast_close = $fast");
			line("server_fast_close = $fast and RECONNECT bench after the thaw, read_only",
				during($client, $way, $freeze{'read_only'}, thawed => sub { bouncer($way, 'RECONNECT bench') }));
		}
		bouncer($way, 'SET server_fast_close = 0');
		line('nothing after the thaw, read_only', during($client, $way, $freeze{'read_only'}));
		foreach my $query ('select 1', "select 1/(current_setting('transaction_read_only') = 'off')::int")
		{
			bouncer($way, 'SET server_check_query = ' . quoted($query));
			bouncer($way, 'SET server_check_delay = 0');
			line("server_check_delay = 0, server_check_query = $query, read_only", during($client, $way, $freeze{'read_only'}));
		}
		bouncer($way, 'SET server_check_delay = 30');
		bouncer($way, "SET server_check_query = 'select 1'");
	}
	return;
}

sub quoted { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }

# ---- hosts -------------------------------------------------------------------

sub hosts
{
	my %plain = map { $_ => $freeze{$_}[3] } keys %freeze;

	table('two servers in one connection string, the first of them frozen: which one it gets');
	foreach my $client (grep { $_ ne 'psycopg2' || !one_of('psycopg') } @clients)
	{
		foreach my $name ('nothing', 'gate reject', 'gate all wait', 'read_only', grep { /^disconnect/ } map { $_->[0] } our_freezes())
		{
			my @ports = $name ne 'nothing' && $plain{$name} ? ($ENV{PORT2}, $ENV{PORT}) : ($ENV{PORT}, $ENV{PORT2});
			my %address =
			    $client eq 'hikari' ? map { ("targetServerType=$_" => "jdbc:postgresql://127.0.0.1:$ports[0],127.0.0.1:$ports[1]/bench?user=app&targetServerType=$_") } qw(any primary)
			  : $client eq 'node' ? ('no setting' => "postgres://app\@127.0.0.1:$ports[0],127.0.0.1:$ports[1]/bench")
			  : map { ("target_session_attrs=$_" => "host=127.0.0.1,127.0.0.1 port=$ports[0],$ports[1] dbname=bench user=app target_session_attrs=$_") } qw(any read-write);
			my $frozen = $name eq 'nothing' ? undef : eval { freeze($freeze{$name}) };
			if ($name ne 'nothing' && !$frozen)
			{
				line("$client, $name", 'not frozen: ' . $@ =~ s/\n.*//sr);
				next;
			}
			foreach my $setting (sort keys %address)
			{
				# pgjdbc remembers which host was what, so a new process each
				my $c = start($client, 'direct', address => $address{$setting});
				my $got = ask($c, "connect $address{$setting}", 10);
				line("$client, $setting, $name", !$got ? 'waits' : !$got->{ok} ? short($got) : $got->{text} == $ports[0] ? 'the first' : 'the second');
				finish($c);
			}
			thaw($frozen) if $frozen;
			last if $client eq 'node' && $name eq 'nothing' && 0;
		}
	}
	return;
}

# ---- pools -------------------------------------------------------------------

# the pool is made in the middle of a freeze
sub born
{
	my ($client, $freeze, %opt) = @_;
	my $frozen = freeze($freeze);
	my $c = start($client, 'direct', %opt);
	my $got = ask($c, 'pool', 40);
	my $said = !$got ? 'waits' : $got->{ok} ? "made in $got->{ms} ms" : short($got) . " ($got->{ms} ms)";
	my $until = 'no pool';

	if ($got && $got->{ok})
	{
		$said .= '; a write: ' . short(ask($c, 'write', 40));
	}
	thaw($frozen);
	$until = went_on(ask($c, 'until 60', 90)) if $got && $got->{ok};
	finish($c);
	return "$said; $until";
}

# a client of strategy read_only that wants to write all the same
sub overridden
{
	my ($client, $how) = @_;
	my $c = start($client, 'direct');
	my $frozen = freeze($freeze{'read_only'});
	my $said;

	must($c, 'pool');
	must($c, 'hold');
	$said = short(ask($c, 'on write'));
	ask($c, $how);
	$said .= '; then: ' . short(ask($c, 'on write'));
	thaw($frozen);
	finish($c);
	return $said;
}

sub pools
{
	my %there = map { $_ => 1 } @clients;

	table('a write during the hold, and afterwards; directly');
	foreach my $client (@clients)
	{
		line("$client, disconnect of the role for 20 s", during($client, 'direct', $freeze{'disconnect role'}, hold => 20));
		line("$client, in use until the moment of the freeze, read_only",
			during($client, 'direct', $freeze{'read_only'}, before => sub { must($_[0], 'write') }));
		line("$client, pool made in a freeze, disconnect", born($client, $freeze{'disconnect role'}));
		line("$client, pool made in a freeze, gate all", born($client, $freeze{'gate all wait'}));
		line("$client, read_only overridden by " . ($client eq 'node' ? 'SET' : 'what the driver offers'),
			overridden($client, $client eq 'node' ? 'on SET default_transaction_read_only = off' : 'readwrite'));
	}
	if ($there{hikari})
	{
		line('hikari, initializationFailTimeout=-1, pool made in a freeze, disconnect', born('hikari', $freeze{'disconnect role'}, words => ['initializationFailTimeout=-1']));
		line('hikari, initializationFailTimeout=-1, pool made in a freeze, gate all', born('hikari', $freeze{'gate all wait'}, words => ['initializationFailTimeout=-1']));
		foreach my $query ('SELECT 1', q{SELECT 1/(current_setting('transaction_read_only') = 'off')::int})
		{
			foreach my $name ('disconnect role', 'read_only')
			{
				line("hikari, connectionTestQuery=$query, $name", during('hikari', 'direct', $freeze{$name}, words => ["connectionTestQuery=$query"]));
			}
		}
		line('hikari, maxLifetime=30000, read_only', during('hikari', 'direct', $freeze{'read_only'}, words => ['maxLifetime=30000']));
	}
	if ($there{node})
	{
		foreach my $way (@ways)
		{
			my $c = working('node', $way, env => { DEAF => 1 });
			my $frozen = freeze($freeze{'disconnect role'});
			my $got = ask($c, 'write', 5);
			thaw($frozen);
			line("node, no listener for 'error', $way, disconnect", $got ? short($got) : 'waits');
			finish($c);
		}
	}
	return;
}

$part{poolers} = \&poolers;
$part{hosts} = \&hosts;
$part{pools} = \&pools;

1;
