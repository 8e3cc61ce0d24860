/** Conversations in the browser's IndexedDB, a record each. */

const NAME = 'heron'
const TABLE = 'conversations'

let opened: Promise<IDBDatabase> | null = null

function database(): Promise<IDBDatabase> {
  opened ??= new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(NAME, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: 'id' })
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close()
      resolve(request.result)
    }
    request.onerror = () => reject(request.error)
    request.onblocked = () => reject(new Error('another tab holds the conversations'))
  }).catch((error: unknown) => {
    opened = null
    throw error
  })
  return opened
}

/** What `work` asked for, once it is safely written. Rejects where there is no room, or no storage at all. */
async function transact<T>(mode: IDBTransactionMode, work: (table: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const transaction = (await database()).transaction(TABLE, mode, { durability: 'relaxed' })
  const request = work(transaction.objectStore(TABLE))
  transaction.commit?.() // now: a page that goes away does not get to do it later
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result)
    transaction.onabort = () => reject(transaction.error ?? request.error)
    transaction.onerror = () => reject(transaction.error ?? request.error)
  })
}

export const readAll = (): Promise<unknown[]> => transact('readonly', (table) => table.getAll())
export const readOne = (id: string): Promise<unknown> => transact('readonly', (table) => table.get(id))
export const write = (record: { id: string }): Promise<unknown> => transact('readwrite', (table) => table.put(record))
export const erase = (id: string): Promise<unknown> => transact('readwrite', (table) => table.delete(id))
