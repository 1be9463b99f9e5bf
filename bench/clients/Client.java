// What bench/clients/run asks of JDBC with HikariCP; see client.py for the commands.
// Client URL [HIKARI-PROPERTY=VALUE...]

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

public class Client {
	static final int SIZE = 2;
	static final String WRITE = "INSERT INTO notes (who) VALUES ('java')";
	static final String READ = "SELECT count(*) FROM notes";

	static String url;
	static final Properties properties = new Properties();
	static HikariDataSource pool;
	static Connection held;

	static String run(Connection connection, String sql) throws SQLException {
		try (Statement statement = connection.createStatement()) {
			if (!statement.execute(sql))
				return "";
			try (ResultSet rows = statement.getResultSet()) {
				return rows.next() ? rows.getString(1) : "";
			}
		}
	}

	static String throughPool(String sql) throws SQLException {
		try (Connection connection = pool.getConnection()) {
			return run(connection, sql);
		}
	}

	static String text(String sql) {
		return sql.equals("write") ? WRITE : sql.equals("read") ? READ : sql;
	}

	static void openPool() throws Exception {
		Properties all = new Properties();
		all.setProperty("jdbcUrl", url);
		all.setProperty("maximumPoolSize", "" + SIZE);
		all.setProperty("connectionTimeout", "3000");
		all.putAll(properties);
		pool = new HikariDataSource(new HikariConfig(all));
		if (all.containsKey("initializationFailTimeout"))
			return;
		// it fills itself in the background
		for (int i = 0; i < 300 && pool.getHikariPoolMXBean().getTotalConnections() < SIZE; i++)
			Thread.sleep(10);
	}

	static String perform(String command, String rest) throws Exception {
		switch (command) {
			case "version":
				return "pgjdbc " + org.postgresql.util.DriverInfo.DRIVER_VERSION + ", HikariCP " + System.getProperty("hikari.version", "?")
					+ ", Java " + System.getProperty("java.version");
			case "pool":
				openPool();
				return "";
			case "write":
				return throughPool(WRITE);
			case "read":
				return throughPool(READ);
			case "hold":
				held = pool.getConnection();
				return "";
			case "on":
				return run(held, text(rest));
			case "in":
				held.setAutoCommit(false);
				return run(held, text(rest));
			case "readwrite":	// as frameworks do around a transaction that only reads
				held.setReadOnly(true);
				run(held, READ);
				held.setReadOnly(false);
				return "";
			case "release":
				held.close();
				return "";
			case "leave":
				pool.close();
				return "";
			case "connect":
			case "connect_and_write":
				try (Connection connection = DriverManager.getConnection(rest.isEmpty() ? url : rest)) {
					return run(connection, command.equals("connect") ? "SHOW port" : WRITE);
				}
			default:
				throw new IllegalArgumentException(command);
		}
	}

	static String oneLine(Throwable error) {
		return String.valueOf(error.getMessage()).split("\n")[0];
	}

	// of an exception and what it was caused by
	static String state(Throwable error) {
		for (Throwable t = error; t != null; t = t.getCause())
			if (t instanceof SQLException && ((SQLException) t).getSQLState() != null)
				return ((SQLException) t).getSQLState();
		return "-";
	}

	static String described(Throwable error) {
		StringBuilder text = new StringBuilder(oneLine(error));
		for (Throwable t = error.getCause(); t != null; t = t.getCause())
			text.append(" / caused by ").append(t.getClass().getSimpleName()).append(": ").append(oneLine(t));
		return text.toString();
	}

	static long since(long start) {
		return (System.nanoTime() - start) / 1000000;
	}

	static String until(int want, double limit) throws InterruptedException {
		long start = System.nanoTime(), first = 0;
		int running = 0, errors = 0;
		String last = "";
		while (running < want) {
			if (since(start) > limit * 1000)
				return String.format("error\t%.0f\t-\t-\tnever in %.0f s: %d errors, %s", limit * 1000, limit, errors, last);
			try {
				throughPool(WRITE);
				if (running == 0)
					first = since(start);
				running++;
			} catch (Exception error) {
				running = 0;
				errors++;
				last = state(error) + " " + oneLine(error);
				Thread.sleep(20);
			}
		}
		return "ok\t" + first + "\t" + errors + "\t" + last;
	}

	public static void main(String[] arguments) throws Exception {
		url = arguments[0];
		for (int i = 1; i < arguments.length; i++) {
			String[] pair = arguments[i].split("=", 2);
			properties.setProperty(pair[0], pair[1]);
		}
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		for (String line; (line = in.readLine()) != null && !line.equals("quit"); ) {
			String[] words = line.split(" ", 2);
			String rest = words.length > 1 ? words[1] : "";
			long start = System.nanoTime();
			String answer;
			if (words[0].equals("until"))
				answer = until(2 * SIZE, Double.parseDouble(rest));
			else {
				try {
					String what = perform(words[0], rest);
					answer = "ok\t" + since(start) + "\t" + what;
				} catch (Exception error) {
					answer = "error\t" + since(start) + "\t" + state(error) + "\t" + error.getClass().getSimpleName() + "\t" + described(error);
				}
			}
			System.out.println(answer);
		}
		System.exit(0);
	}
}
