# Clients of a connection storm: processes that connect again and again, and
# write down what became of each login and of each statement, with times.  They
# speak the protocol themselves, because psql or pgbench take longer to start
# than a login takes, and pgbench ends with the first login that is refused.
#
# A line of a client's file is "login" or "statement", when it began, when the
# answer was there, the outcome ("ok", an SQLSTATE, or "gone" where the
# connection ended without one), and when the session's login began.

package StormClient;

use strict;
use warnings;

use IO::Socket::UNIX;
use Time::HiRes qw(time usleep);

# ---- in a process of its own -----------------------------------------------------

# Reads messages until the server is ready, or the connection ends: 'ok', the
# SQLSTATE of the last error, or 'gone'.
sub answer
{
	my ($socket) = @_;
	my $outcome = 'ok';

	while (1)
	{
		my ($header, $body) = ('', '');

		while (length $header < 5)
		{
			sysread($socket, $header, 5 - length $header, length $header) or return $outcome eq 'ok' ? 'gone' : $outcome;
		}
		my ($type, $length) = unpack 'aN', $header;
		while (length $body < $length - 4)
		{
			sysread($socket, $body, $length - 4 - length $body, length $body) or return $outcome eq 'ok' ? 'gone' : $outcome;
		}
		return $outcome if $type eq 'Z';
		($outcome) = $body =~ /(?:^|\0)C([0-9A-Z]{5})\0/ if $type eq 'E';
	}
}

# Begins to log in; the socket, undef if there is no connection.
sub login
{
	my ($path, $user, $database, %options) = @_;
	my $startup = pack('N', 196608) . join("\0", 'user', $user, 'database', $database, %options, '') . "\0";
	my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) or return undef;

	syswrite($socket, pack('Na*', length($startup) + 4, $startup));
	return $socket;
}

# What becomes of a statement.
sub query
{
	my ($socket, $sql) = @_;
	# "gone" where the server has gone before it read this
	return defined syswrite($socket, pack('aNa*', 'Q', length($sql) + 5, "$sql\0")) ? answer($socket) : 'gone';
}

# kind: "short" logs in, writes and leaves; "stay" stays, and writes in and
# without transactions until somebody ends it; "busy" stays and is never idle for
# long; "idle" does nothing.
sub run
{
	my ($path, $user, $database, $kind, $table, $file, $stop) = @_;
	my $insert = "INSERT INTO $table (who) VALUES (1)";
	my ($socket, $login);

	$SIG{PIPE} = 'IGNORE';
	open my $log, '>', $file or die "$file: $!";
	$log->autoflush(1);
	my $say = sub {
		my ($sql) = @_;
		my $begin = time;
		my $outcome = query($socket, $sql);
		printf $log "statement %.6f %.6f %s %.6f %s\n", $begin, time, $outcome, $login, $sql =~ /^(\w+)/;
		return $outcome ne 'gone' && $outcome !~ /^57P/;
	};

	until (-e $stop)
	{
		$login = time;
		$socket = login($path, $user, $database, application_name => "storm $kind");
		if (!$socket)
		{
			usleep(1000);
			next;
		}
		my $outcome = answer($socket);
		printf $log "login %.6f %.6f %s %.6f -\n", $login, time, $outcome, $login;
		if ($outcome ne 'ok')
		{
			usleep($kind eq 'short' ? 200 : 5000);
			next;
		}
		my $there = 1;
		if ($kind eq 'short')
		{
			$say->($insert);
		}
		elsif ($kind eq 'stay')
		{
			while ($there && !-e $stop)
			{
				if (rand() < 0.5)
				{
					$there = $say->($insert);
				}
				else
				{
					$there = $say->('BEGIN') && ($say->($insert), 1) && do { usleep(rand(20_000)); $say->('END') };
				}
				usleep(rand(30_000));
			}
		}
		elsif ($kind eq 'busy')
		{
			$there = $say->("$insert; SELECT pg_sleep(0.3)") while $there && !-e $stop;
		}
		else
		{
			my $ready = '';
			vec($ready, fileno($socket), 1) = 1;
			until (-e $stop)
			{
				last if select(my $r = $ready, undef, undef, 0.1);
			}
		}
		syswrite($socket, pack('aN', 'X', 4));
		close $socket;
	}
	return;
}

# ---- in the test --------------------------------------------------------------------

# Starts clients: node, stop (a file that ends them), and a list of
# [ user, database, kind, table, how many ].  The test has loaded the modules that
# this and the next one need; a client must not.
sub start
{
	my ($node, $stop, @clients) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('storm');
	my @started;

	foreach my $client (@clients)
	{
		my ($user, $database, $kind, $table, $n) = @$client;

		foreach (1 .. $n)
		{
			my $file = sprintf '%s/%d', $dir, scalar @started;
			push @started,
			  {
				user => $user, database => $database, kind => $kind, file => $file,
				harness => IPC::Run::start([ $^X, '-I', $INC{'StormClient.pm'} =~ s{/[^/]*$}{}r, '-MStormClient', '-e', 'StormClient::run(@ARGV)',
						$node->host . '/.s.PGSQL.' . $node->port, $user, $database, $kind, $table, $file, $stop ], '<', \undef)
			  };
		}
	}
	return @started;
}

# What the clients that start() started wrote down, when the file is there that
# ends them: a list of hashes, by the beginning.
sub finish
{
	my @events;

	foreach my $client (@_)
	{
		$client->{harness}->finish;
		foreach my $line (split /\n/, PostgreSQL::Test::Utils::slurp_file($client->{file}))
		{
			my %event = (user => $client->{user}, database => $client->{database}, kind => $client->{kind}, file => $client->{file});
			@event{qw(what begin end outcome login word)} = split / /, $line;
			push @events, \%event;
		}
	}
	return sort { $a->{begin} <=> $b->{begin} } @events;
}

1;
