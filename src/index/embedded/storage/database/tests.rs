use super::*;

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    database
        .write(|transaction| {
            transaction.open_table(META).map_err(failure)?.insert(SCHEMA_KEY, SCHEMA + 1).map_err(failure)?;
            Ok(Outcome::Commit(()))
        })
        .map(drop)
        .unwrap();
    drop(database);
    let error = Database::open(folder.path(), 1 << 20).unwrap_err();
    assert!(error.message().contains("schema version 3, this build reads 2"), "{error}");
}

#[test]
fn the_schema_before_the_log_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |database: &Database| {
        let snapshot = database.snapshot().unwrap();
        snapshot.open_table(META).unwrap().get(SCHEMA_KEY).unwrap().unwrap().value()
    };
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    database
        .write(|transaction| {
            let mut meta = transaction.open_table(META).map_err(failure)?;
            meta.insert(SCHEMA_KEY, SCHEMA_WITHOUT_LOG).map_err(failure)?;
            Ok(Outcome::Commit(()))
        })
        .map(drop)
        .unwrap();
    drop(database);
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    assert_eq!((schema(&database), database.sequence()), (SCHEMA, 1));
}

#[test]
fn an_empty_file_is_no_new_database() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), "").unwrap();
    let error = Database::open(folder.path(), 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("index.redb is empty: "), "{error}");
    assert_eq!(fs::metadata(folder.path().join(FILE)).unwrap().len(), 0, "it is left as it is");
}

#[test]
fn what_a_crash_leaves_of_a_new_database_is_no_hindrance() {
    for left in [&b""[..], b"the beginning of a database"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NEW_FILE), left).unwrap();
        drop(Database::open(folder.path(), 1 << 20).unwrap());
        assert!(Database::open(folder.path(), 1 << 20).is_ok());
        assert!(!folder.path().join(NEW_FILE).exists());
    }
}

#[test]
fn a_second_opener_is_told_that_the_database_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Database::open(folder.path(), 1 << 20).unwrap();
    let error = Database::open(folder.path(), 1 << 20).unwrap_err();
    assert!(error.message().contains("is in use by another process") && error.message().contains("stop it"), "{error}");
}

#[test]
fn a_full_disk_is_told_from_other_failures() {
    let io = |kind| failure(redb::Error::Io(io::Error::from(kind)));
    for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
        assert_eq!(io(full).kind(), ErrorKind::StorageFull);
    }
    assert_eq!(io(io::ErrorKind::PermissionDenied).kind(), ErrorKind::Internal);
    assert!(needs_reopening(&io(io::ErrorKind::StorageFull)));
}

#[test]
fn after_a_failed_write_the_database_is_opened_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    let put = |number: u64, fail: bool| {
        database.write(|transaction| {
            transaction.open_table(META).map_err(failure)?.insert("test", number).map_err(failure)?;
            if fail { Err(failure(redb::Error::PreviousIo)) } else { Ok(Outcome::Commit(())) }
        })
    };
    put(1, false).map(|written| database.publish(written.snapshot.unwrap())).unwrap();
    assert_eq!(put(2, true).map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    let snapshot = database.snapshot().unwrap();
    assert_eq!(snapshot.open_table(META).unwrap().get("test").unwrap().unwrap().value(), 1);
    put(3, false).map(drop).unwrap();
}
fn disk_failed() -> Error {
    failure(redb::Error::Io(io::Error::from(io::ErrorKind::Other)))
}

fn put(database: &Database, number: u64) -> Result<Written<()>> {
    database.write(|transaction| {
        transaction.open_table(META).map_err(failure)?.insert("test", number).map_err(failure)?;
        Ok(Outcome::Commit(()))
    })
}

#[test]
fn a_failed_commit_that_arrived_is_seen_only_once_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    let sequence = database.sequence() + 1;
    drop(put(&database, 1).unwrap());
    let snapshot = database.find_after_failure(sequence, &disk_failed()).unwrap();
    assert_eq!(database.snapshot().map(drop).unwrap_err().kind(), ErrorKind::Unavailable);
    database.publish(snapshot);
    let snapshot = database.snapshot().unwrap();
    assert_eq!(snapshot.open_table(META).unwrap().get("test").unwrap().unwrap().value(), 1);
    drop(snapshot);
    put(&database, 2).map(drop).unwrap();
}

#[test]
fn a_failed_commit_that_is_gone_is_the_failure_itself() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    let error = database.find_after_failure(database.sequence() + 1, &disk_failed()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(database.snapshot().is_ok());
}

#[test]
fn a_commit_whose_fate_nobody_can_tell_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), 1 << 20).unwrap();
    fs::rename(database.path(), folder.path().join("elsewhere")).unwrap();
    fs::create_dir(database.path()).unwrap();
    let error = database.find_after_failure(database.sequence() + 1, &disk_failed()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("not known") && error.chain().contains("the index database failed"), "{error}");
    fs::remove_dir(database.path()).unwrap();
    fs::rename(folder.path().join("elsewhere"), database.path()).unwrap();
    assert!(database.snapshot().is_ok(), "it is opened again when that is possible");
}
