-- Run once, when the Postgres volume is new. csift's tables and Prefect's are in databases of their own.
CREATE DATABASE prefect;
