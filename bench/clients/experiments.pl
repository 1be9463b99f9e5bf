# The parts of bench/clients/run beside the matrix: what settings of the poolers,
# of the clients' pools and of connection strings change.  Read by drive.pl.

use strict;
use warnings;
use Time::HiRes qw(time sleep);

our (@clients, @ways, %port, %part);

my %freeze = map { $_->[0] => $_ } our_freezes();

# "how" is run, unless ONLY, a regular expression, leaves it out
sub line
{
	my ($what, $how) = @_;

	return if $ENV{ONLY} && $what !~ /$ENV{ONLY}/;
	my $measured = eval { $how->() };
	if (!defined $measured)
	{
		$measured = 'not run: ' . $@ =~ s/\n.*//sr;
		sql($_, 'bench', 'SELECT thaw_all()') foreach $ENV{PORT}, $ENV{PORT2};
	}
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
	return "goes on $until->{ms} ms after the thaw" . ($until->{errors} ? ", $until->{errors} errors: $until->{last}" : '');
}

# A client that writes in the middle of a freeze, again and again as an application
# does: what its first write sees, and how long after the thaw one goes well.
sub during
{
	my ($client, $way, $freeze, %opt) = @_;
	my $c = working($client, $way, %opt);
	my $hold = $opt{hold} // 5;

	$opt{before}->($c) if $opt{before};
	my $frozen = freeze($freeze);
	my $end = time + $hold;
	my $first = ask($c, 'write', $hold);
	my $next = $first;
	while ($next && time < $end)
	{
		sleep 0.2;
		$next = ask($c, 'write', $end - time) if time < $end;
	}
	my $thawing = time;
	thaw($frozen);
	$opt{thawed}->($c) if $opt{thawed};
	my $late = $next ? undef : answer($c, 150);
	my $late_at = $late ? $c->{asked} + $late->{ms} / 1000 - $thawing : 0;
	my $until = ask($c, 'until 60', 90);
	my $from = $late && $late->{ok} ? $late_at : $c->{asked} + $until->{ms} / 1000 - $thawing;
	finish($c);
	my $said = short($first // $late);
	$said = 'waits' . ($late->{ok} ? '' : ", then $said") if !$first;
	return "$said; " . ($until->{ok} ? sprintf('goes on %.0f ms after the thaw', 1000 * $from) : short($until))
	  . ($until->{errors} ? ", $until->{errors} errors: $until->{last}" : '');
}

# ---- poolers -----------------------------------------------------------------

# a second client, that reads, while the only server connection of the pool waits
sub behind_a_waiter
{
	my ($client, $way) = @_;
	my ($writer, $reader) = map { start($client, $way) } 1 .. 2;

	must($_, 'connect') foreach $writer, $reader;
	my $frozen = freeze($freeze{'gate wait'});
	order($writer, "connect_and_write");
	sleep 1;
	my $got = ask($reader, 'connect', 10);
	thaw($frozen);
	my $wrote = answer($writer, 30);
	finish($writer, $reader);
	return short($got) . '; the writer: ' . short($wrote);
}

# one client overrides read_only, another one writes
sub overridden_by_another
{
	my ($client, $way) = @_;
	my ($one, $other) = map { start($client, $way) } 1 .. 2;
	my $frozen = freeze($freeze{'read_only'});

	must($one, $_) foreach 'pool', 'hold', 'on SET default_transaction_read_only = off', 'release', 'leave';
	sleep 0.5;
	must($other, 'pool');
	my $got = ask($other, 'write', 10);
	thaw($frozen);
	finish($one, $other);
	return short($got);
}

sub poolers
{
	my $client = one_of(qw(node psycopg psycopg2 hikari));

	return unless grep { $_ eq 'transaction' } @ways;
	foreach my $way ('transaction', 'session')
	{
		my $role = $freeze{'disconnect role'};

		table("PgBouncer, $way pooling ($client)");
		foreach my $retry (15, 1)
		{
			bouncer($way, "SET server_login_retry = $retry");
			line("server_login_retry = $retry, disconnect of the role", sub { during($client, $way, $role) });
		}
		bouncer($way, 'SET server_login_retry = 15');
		line('RECONNECT bench after the thaw, disconnect of the role', sub { during($client, $way, $role, thawed => sub { bouncer($way, 'RECONNECT bench') }) });
		line('RELOAD after the thaw, disconnect of the role', sub { during($client, $way, $role, thawed => sub { bouncer($way, 'RELOAD') }) });
		line('KILL bench, RESUME bench after the thaw, disconnect of the role',
			sub { during($client, $way, $role, thawed => sub { bouncer($way, 'KILL bench'); bouncer($way, 'RESUME bench') }) });

		bouncer($way, 'SET query_wait_timeout = 2');
		line('query_wait_timeout = 2, disconnect of the role', sub { during($client, $way, $role, hold => 6) });
		bouncer($way, 'SET default_pool_size = 1');
		bouncer($way, 'KILL bench');	# those that are there
		bouncer($way, 'RESUME bench');
		line('query_wait_timeout = 2, default_pool_size = 1, gate: a reader behind a writer that waits', sub { behind_a_waiter($client, $way) });
		bouncer($way, 'SET default_pool_size = 20');
		bouncer($way, 'SET query_wait_timeout = 120');

		foreach my $name ('disconnect role', 'read_only')
		{
			# in session pooling PAUSE waits for clients to leave
			next if $way eq 'session';
			line("PAUSE bench before the freeze, RESUME bench after the thaw, $name",
				sub { during($client, $way, $freeze{$name}, before => sub { bouncer($way, 'PAUSE bench') }, thawed => sub { bouncer($way, 'RESUME bench') }, hold => 3) });
		}
		line('read_only', sub { during($client, $way, $freeze{'read_only'}) });
		bouncer($way, 'SET server_check_delay = 0');
		line('server_check_delay = 0, read_only', sub { during($client, $way, $freeze{'read_only'}) });
		bouncer($way, 'SET server_check_delay = 30');
		bouncer($way, 'SET server_fast_close = 1');
		line('server_fast_close = 1, RECONNECT bench after the thaw, read_only',
			sub { during($client, $way, $freeze{'read_only'}, thawed => sub { bouncer($way, 'RECONNECT bench') }) });
		bouncer($way, 'SET server_fast_close = 0');
		line('one client has overridden read_only by SET and left; another one writes', sub { overridden_by_another($client, $way) });
	}
	return;
}

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
				line("$client, $name", sub { 'not frozen: ' . $@ =~ s/\n.*//sr });
				next;
			}
			foreach my $setting (sort keys %address)
			{
				# pgjdbc remembers which host was what, so a new process each
				my $c = start($client, 'direct', address => $address{$setting});
				my $got = ask($c, "connect $address{$setting}", 10);
				line("$client, $setting, $name", sub { !$got ? 'waits' : !$got->{ok} ? short($got) : $got->{text} == $ports[0] ? 'the first' : 'the second' });
				finish($c);
			}
			thaw($frozen) if $frozen;
			last if $client eq 'node';	# it takes no second host
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
	my ($client, $how, $more) = @_;
	my $c = start($client, 'direct', address => address($client, $ENV{PORT}, 'bench') . ($more // ''));
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
		line("$client, disconnect of the role for 20 s", sub { during($client, 'direct', $freeze{'disconnect role'}, hold => 20) });
		line("$client, in use until the moment of the freeze, read_only",
			sub { during($client, 'direct', $freeze{'read_only'}, before => sub { must($_[0], 'write') }) });
		line("$client, pool made in a freeze, disconnect", sub { born($client, $freeze{'disconnect role'}) });
		line("$client, pool made in a freeze, gate all", sub { born($client, $freeze{'gate all wait'}) });
		line("$client, read_only overridden by " . ($client eq 'node' ? 'SET' : 'what the driver offers'),
			sub { overridden($client, $client eq 'node' ? 'on SET default_transaction_read_only = off' : 'readwrite') });
	}
	if ($there{hikari})
	{
		line('hikari, readOnlyMode=always, read_only overridden by what the driver offers', sub { overridden('hikari', 'readwrite', '&readOnlyMode=always') });
		line('hikari, initializationFailTimeout=-1, pool made in a freeze, disconnect', sub { born('hikari', $freeze{'disconnect role'}, words => ['initializationFailTimeout=-1']) });
		line('hikari, initializationFailTimeout=-1, pool made in a freeze, gate all', sub { born('hikari', $freeze{'gate all wait'}, words => ['initializationFailTimeout=-1']) });
		line("hikari, connectionTestQuery=SELECT 1, $_", do { my $name = $_; sub { during('hikari', 'direct', $freeze{$name}, words => ['connectionTestQuery=SELECT 1']) } })
		  foreach 'disconnect role', 'read_only';
	}
	if ($there{node})
	{
		foreach my $way (@ways)
		{
			line("node, no listener for 'error', $way, disconnect", sub {
				my $c = working('node', $way, env => { DEAF => 1 });
				my $frozen = freeze($freeze{'disconnect role'});
				my $got = ask($c, 'write', 5);
				thaw($frozen);
				finish($c);
				return $got ? short($got) : 'waits';
			});
		}
	}
	return;
}

$part{poolers} = \&poolers;
$part{hosts} = \&hosts;
$part{pools} = \&pools;

1;
