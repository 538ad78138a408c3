CREATE TABLE `peers` (
	`url` text PRIMARY KEY NOT NULL,
	`key` text NOT NULL,
	`learned_at_ms` integer NOT NULL
);
